import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;

/** Formats the data folder, if that has not been done, and runs the broker until standard input ends. */
class Main {
    public static void main(String[] args) throws Exception {
        List<String> format = new ArrayList<>(List.of("format", "--ignore-formatted", "--cluster-id", "c3luY2QtaW50ZWdyYXRpbw", "--config", args[0]));
        for (int i = 1; i < args.length; i++) {
            format.addAll(List.of("--add-scram", args[i]));
        }
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        if (kafka.tools.StorageTool.execute(format.toArray(new String[0]), new PrintStream(said)) != 0) {
            System.out.println(said);
            System.exit(1);
        }
        Thread end = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                }
            } catch (IOException e) {
                e.printStackTrace();
            }
            System.exit(0);
        });
        end.setDaemon(true);
        end.start();
        kafka.Kafka.main(new String[] {args[0]});
    }
}
