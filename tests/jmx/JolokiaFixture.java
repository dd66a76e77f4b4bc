import org.eclipse.jetty.security.ConstraintMapping;
import org.eclipse.jetty.security.ConstraintSecurityHandler;
import org.eclipse.jetty.security.HashLoginService;
import org.eclipse.jetty.security.UserStore;
import org.eclipse.jetty.security.authentication.BasicAuthenticator;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.eclipse.jetty.util.security.Constraint;
import org.eclipse.jetty.util.security.Credential;
import org.eclipse.jetty.util.ssl.SslContextFactory;
import org.jolokia.http.AgentServlet;

/**
 * The fixture's MBeans behind Jolokia on a Jetty, as Debian packages both: on a port; with user and password where they are given, and with TLS where a
 * key store is. Ends when its standard input does.
 */
public class JolokiaFixture {
    public static void main(String[] args) throws Exception {
        Fixture.register(new Fixture.Thing(), "fixture:type=Thing");
        Fixture.register(new Fixture.Small(), "fixture:type=Small,name=a/b");
        Fixture.register(new Fixture.Small(), "fixture:type=Small,name=c");
        Server server = new Server();
        ServerConnector connector = args.length > 3 ? new ServerConnector(server, tls(args[3])) : new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(args[0]));
        server.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler();
        if (args.length > 1) {
            context.setSecurityHandler(login(args[1], args[2]));
        }
        context.addServlet(new ServletHolder(new AgentServlet()), "/jolokia/*");
        server.setHandler(context);
        server.start();
        System.out.println("READY");
        System.out.flush();
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }

    private static SslContextFactory.Server tls(String keyStore) {
        SslContextFactory.Server tls = new SslContextFactory.Server();
        tls.setKeyStorePath(keyStore);
        tls.setKeyStorePassword("changeit");
        return tls;
    }

    private static ConstraintSecurityHandler login(String user, String password) {
        UserStore users = new UserStore();
        users.addUser(user, Credential.getCredential(password), new String[] {"monitor"});
        HashLoginService service = new HashLoginService("jolokia");
        service.setUserStore(users);
        Constraint constraint = new Constraint(Constraint.__BASIC_AUTH, "monitor");
        constraint.setAuthenticate(true);
        ConstraintMapping everywhere = new ConstraintMapping();
        everywhere.setConstraint(constraint);
        everywhere.setPathSpec("/*");
        ConstraintSecurityHandler handler = new ConstraintSecurityHandler();
        handler.setAuthenticator(new BasicAuthenticator());
        handler.setLoginService(service);
        handler.addConstraintMapping(everywhere);
        return handler;
    }
}
