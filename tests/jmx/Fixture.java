import java.lang.management.ManagementFactory;
import java.rmi.registry.LocateRegistry;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedList;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import javax.management.MBeanServer;
import javax.management.MXBean;
import javax.management.ObjectName;
import javax.management.remote.JMXConnectorServerFactory;
import javax.management.remote.JMXServiceURL;

/** A JVM with MBeans that behave, and such that do not. Ends when its standard input does. */
public class Fixture {
    @MXBean
    public interface ThingMXBean {
        long getCount();
        boolean isOn();
        String getNumberText();
        String getText();
        double getBroken();
        byte[] getHuge();
        String getHugeText();
        long getSlow();
        String getNothing();
        Map<String, Integer> getTable();
        String greet(String name, int times);
        int sum(int[] numbers);
        String fail();
        long sleep(long ms);
        void reset();
        void addMany(int count);
        void removeLate();
    }

    public static class Thing implements ThingMXBean {
        private final AtomicLong count = new AtomicLong(100);

        public long getCount() { return count.addAndGet(10); }
        public boolean isOn() { return true; }
        public String getNumberText() { return " 42.5 "; }
        public String getText() { return "some words"; }
        public double getBroken() { throw new IllegalStateException("it is broken"); }
        public byte[] getHuge() { return new byte[50 << 20]; }
        public String getHugeText() { return text(50 << 20); }
        private static String text(int length) {
            char[] chars = new char[length];
            Arrays.fill(chars, 'x');
            return new String(chars);
        }
        public long getSlow() { return sleep(60_000); }
        public String getNothing() { return null; }
        public Map<String, Integer> getTable() {
            Map<String, Integer> table = new HashMap<>();
            table.put("a.b", 7);
            table.put("c", 8);
            return table;
        }
        public String greet(String name, int times) {
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < times; i++) {
                text.append("hello ").append(name).append('\n');
            }
            return text.toString();
        }
        public int sum(int[] numbers) { return Arrays.stream(numbers).sum(); }
        public String fail() { throw new IllegalArgumentException("not like this"); }
        public long sleep(long ms) {
            try {
                Thread.sleep(ms);
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
            return ms;
        }
        public void reset() { count.set(0); }
        public void addMany(int many) {
            for (int i = 0; i < many; i++) {
                register(new Small(), "many:type=Small,number=" + i);
            }
        }
        public void removeLate() {
            try {
                server().unregisterMBean(new ObjectName("fixture:type=Late"));
            } catch (Exception wrong) {
                throw new IllegalStateException(wrong);
            }
        }
    }

    public interface SmallMBean {
        int getValue();
    }

    public static class Small implements SmallMBean {
        public int getValue() { return 1; }
    }

    /** Not of the JDK, and not known to who reads it. */
    public static class Own implements java.io.Serializable {}

    public interface OddMBean {
        Object getOwn();
        Object getLinked();
        Object hoard();
        int getFine();
    }

    public static class Odd implements OddMBean {
        public Object getOwn() { return new Own(); }
        /** Just below what is read of attributes. */
        public Object getLinked() { return LINKED; }
        private static final Object LINKED = list(1_000_000);
        /** As few bytes as an answer may have, and more than twenty times as many where it is read. */
        public synchronized Object hoard() {
            if (hoard == null) {
                hoard = list(7_000_000);
            }
            return hoard;
        }
        private Object hoard;
        static Object list(int length) { return new LinkedList<>(Collections.nCopies(length, (Object) null)); }
        public int getFine() { return 3; }
    }

    static MBeanServer server() { return ManagementFactory.getPlatformMBeanServer(); }

    static void register(Object bean, String name) {
        try {
            server().registerMBean(bean, new ObjectName(name));
        } catch (Exception wrong) {
            throw new IllegalStateException(wrong);
        }
    }

    public static void main(String[] args) throws Exception {
        register(new Thing(), "fixture:type=Thing");
        register(new Odd(), "fixture:type=Odd");
        register(new Small(), "fixture:type=Late");
        for (String more : args) {
            int port = Integer.parseInt(more);
            LocateRegistry.createRegistry(port);
            JMXServiceURL url = new JMXServiceURL("service:jmx:rmi:///jndi/rmi://127.0.0.1:" + port + "/jmxrmi");
            JMXConnectorServerFactory.newJMXConnectorServer(url, null, server()).start();
        }
        System.out.println("READY");
        System.out.flush();
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }
}
