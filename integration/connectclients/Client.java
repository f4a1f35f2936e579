import java.util.Map;
import org.sourcelab.kafka.connect.apiclient.Configuration;
import org.sourcelab.kafka.connect.apiclient.KafkaConnectClient;
import org.sourcelab.kafka.connect.apiclient.request.dto.ConnectorPluginConfigDefinition;
import org.sourcelab.kafka.connect.apiclient.request.dto.NewConnectorDefinition;

/** Asks what org.sourcelab's client, which is that of AKHQ, can ask, and prints what it understood of each answer. */
class Client {
    public static void main(String[] args) throws Exception {
        KafkaConnectClient c = new KafkaConnectClient(new Configuration(args[0]));
        String job = args[1];
        Map<String, String> config = c.getConnectorConfig(job);
        System.out.println("version " + c.getConnectServerVersion().getVersion());
        System.out.println("connectors " + c.getConnectors());
        System.out.println("all " + c.getConnectorsWithAllExpandedMetadata().getAllStatuses().size());
        System.out.println("connector " + c.getConnector(job).getType() + " " + c.getConnector(job).getTasks().size());
        System.out.println("status " + c.getConnectorStatus(job).getConnector().get("state") + " " + c.getConnectorTaskStatus(job, 0).getState());
        System.out.println("tasks " + c.getConnectorTasks(job).size());
        System.out.println("topics " + c.getConnectorTopics(job).getTopics() + " " + c.resetConnectorTopics(job));
        System.out.println("plugins " + c.getConnectorPlugins().stream().anyMatch(p -> p.getClassName().equals("mongo") && p.getType().equals("source")));
        System.out.println("lifecycle " + c.pauseConnector(job) + " " + c.resumeConnector(job) + " " + c.stopConnector(job) + " " + c.resumeConnector(job)
            + " " + c.restartConnector(job) + " " + c.restartConnectorTask(job, 0));
        config.put("name", "java");
        System.out.println("created " + c.addConnector(NewConnectorDefinition.newBuilder().withName("java").withConfig(config).build()).getName());
        config.put("run.batch_size", "12");
        System.out.println("updated " + c.updateConnectorConfig("java", config).getConfig().get("run.batch_size"));
        System.out.println("valid " + c.validateConnectorPluginConfig(
            ConnectorPluginConfigDefinition.newBuilder().withName("file").withConfig(config).build()).getErrorCount());
        System.out.println("deleted " + c.deleteConnector("java"));
        try {
            c.getConnector("nope");
        } catch (Exception e) {
            System.out.println("missing " + e.getMessage());
        }
    }
}
