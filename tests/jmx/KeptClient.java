import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.management.Attribute;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.openmbean.CompositeData;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/**
 * What a program of a few lines would do: keeps a connection to each JVM, and asks for all attributes of an MBean at once.
 *
 * <p>Arguments: ports with commas between them, then `MBEAN|ATTRIBUTE|KEY|LEAST` each. A line of standard input is a number of
 * readings of everything, answered with `DONE`. Ends when standard input does.
 */
public class KeptClient {
    private static class Wanted {
        final String attribute;
        final String key;
        final double least;

        Wanted(String attribute, String key, double least) {
            this.attribute = attribute;
            this.key = key;
            this.least = least;
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<MBeanServerConnection> connections = new ArrayList<>();
        for (String port : arguments[0].split(",")) {
            String url = "service:jmx:rmi:///jndi/rmi://127.0.0.1:" + port + "/jmxrmi";
            connections.add(JMXConnectorFactory.connect(new JMXServiceURL(url)).getMBeanServerConnection());
        }
        Map<ObjectName, List<Wanted>> wanted = new LinkedHashMap<>();
        for (int i = 1; i < arguments.length; i++) {
            String[] parts = arguments[i].split("\\|");
            wanted.computeIfAbsent(new ObjectName(parts[0]), name -> new ArrayList<>())
                .add(new Wanted(parts[1], parts[2], Double.parseDouble(parts[3])));
        }
        Map<ObjectName, String[]> names = new LinkedHashMap<>();
        for (Map.Entry<ObjectName, List<Wanted>> entry : wanted.entrySet()) {
            Set<String> of = new LinkedHashSet<>();
            for (Wanted one : entry.getValue()) {
                of.add(one.attribute);
            }
            names.put(entry.getKey(), of.toArray(new String[0]));
        }
        System.out.println("READY");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            for (int left = Integer.parseInt(line.trim()); left > 0; left--) {
                for (MBeanServerConnection connection : connections) {
                    for (Map.Entry<ObjectName, List<Wanted>> entry : wanted.entrySet()) {
                        read(connection, entry.getKey(), names.get(entry.getKey()), entry.getValue());
                    }
                }
            }
            System.out.println("DONE");
        }
        System.exit(0);
    }

    private static void read(MBeanServerConnection connection, ObjectName name, String[] names, List<Wanted> wanted)
        throws Exception {
        List<Attribute> answered = connection.getAttributes(name, names).asList();
        for (Wanted one : wanted) {
            Object value = null;
            for (Attribute attribute : answered) {
                if (attribute.getName().equals(one.attribute)) {
                    value = attribute.getValue();
                }
            }
            if (value instanceof CompositeData) {
                value = ((CompositeData) value).get(one.key);
            }
            if (!(value instanceof Number) || ((Number) value).doubleValue() < one.least) {
                throw new IllegalStateException(name + " " + one.attribute + " " + one.key + ": " + value);
            }
        }
    }
}
