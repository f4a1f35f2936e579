import java.util.HexFormat;
import java.util.Map;
import java.util.Scanner;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends a record for each key, which are lines of hexadecimal digits, as any Java program would: by the default partitioner. */
class Produce {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "acks", "all");
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
                Scanner keys = new Scanner(System.in)) {
            while (keys.hasNextLine()) {
                byte[] key = HexFormat.of().parseHex(keys.nextLine());
                producer.send(new ProducerRecord<>(args[1], key, key), (sent, failure) -> {
                    if (failure != null) {
                        failure.printStackTrace();
                        System.exit(1);
                    }
                });
            }
        }
    }
}
