import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.util.List;

/** Runs the server until standard input ends, which it does when the test that started it ends, however it ends. */
class Main {
    /** Drivers of today refuse the wire versions that the server would name by itself, though they work with it. */
    static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 13;
        }
    }

    public static void main(String[] args) throws Exception {
        MongoServer server = new MongoServer(new MemoryBackend().version(new Version()));
        System.out.println(server.bind().getPort());
        while (System.in.read() >= 0) {
        }
        server.shutdownNow();
        System.exit(0);
    }
}
