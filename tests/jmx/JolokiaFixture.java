import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.jolokia.http.AgentServlet;

/** The fixture's MBeans behind Jolokia on a Jetty, as Debian packages both. Ends when its standard input does. */
public class JolokiaFixture {
    public static void main(String[] args) throws Exception {
        Fixture.register(new Fixture.Thing(), "fixture:type=Thing");
        Fixture.register(new Fixture.Small(), "fixture:type=Small,name=a/b");
        Fixture.register(new Fixture.Small(), "fixture:type=Small,name=c");
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(args[0]));
        server.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler();
        context.addServlet(new ServletHolder(new AgentServlet()), "/jolokia/*");
        server.setHandler(context);
        server.start();
        System.out.println("READY");
        System.out.flush();
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }
}
