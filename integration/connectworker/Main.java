import java.io.IOException;

/** Runs a worker with connectors of its own, standalone, until standard input ends. */
class Main {
    public static void main(String[] args) {
        Thread end = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                }
            } catch (IOException e) {
                e.printStackTrace();
            }
            Runtime.getRuntime().halt(0); // a worker takes seconds to stop its connectors
        });
        end.setDaemon(true);
        end.start();
        org.apache.kafka.connect.cli.ConnectStandalone.main(args);
    }
}
