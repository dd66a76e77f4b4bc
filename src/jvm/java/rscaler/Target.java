package rscaler;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InvalidClassException;
import java.io.NotSerializableException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.net.SocketException;
import java.rmi.ConnectIOException;
import java.rmi.MarshalException;
import java.rmi.NoSuchObjectException;
import java.rmi.NotBoundException;
import java.rmi.RemoteException;
import java.rmi.UnmarshalException;
import java.rmi.registry.LocateRegistry;
import java.rmi.server.ObjID;
import java.rmi.server.RMIClientSocketFactory;
import java.rmi.server.RemoteObject;
import java.rmi.server.RemoteRef;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.Collections;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.management.remote.rmi.RMIConnection;
import javax.management.remote.rmi.RMIConnectionImpl_Stub;
import javax.management.remote.rmi.RMIServer;
import javax.management.remote.rmi.RMIServerImpl_Stub;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.TrustManagerFactory;

/**
 * A JVM that is spoken to, and the one connection to it. The connection is used as the connector of the JDK would use it, but without the
 * connector: that would ask the JVM's own idea of its address, before anybody could correct it.
 */
final class Target {
    static final int READ = 1;
    static final int BROWSE = 2;
    static final int INVOKE = 3;
    /** How long the large result of an operation waits for its turn, in ms. */
    private static final int INVOKED_MS = 5000;

    final int tunnelPort;
    final byte[] token;
    final int connectMs;
    final Set<Wire.Tap> taps = Collections.newSetFromMap(new ConcurrentHashMap<Wire.Tap, Boolean>());
    /** How long one call may take, in ms; 0 for as long as the whole question. */
    volatile int callMs;
    /** Whether an idle connection is used without asking whether it stands. */
    volatile boolean trusts;

    private final String host;
    private final int port;
    private final String name;
    private final String[] credentials;
    private final boolean tls;
    private final byte[] trustStore;
    private final Wire wire;
    private SSLContext context;
    private RMIConnection connection;
    private final Reads reads = new Reads();
    private volatile long left;
    private volatile long taken;
    private long deadline;
    final Memory memory = new Memory();

    Target(DataInputStream in) throws IOException {
        host = Jmx.string(in);
        port = in.readInt();
        name = Jmx.string(in);
        credentials = in.readBoolean() ? new String[] {Jmx.string(in), Jmx.string(in)} : null;
        tls = in.readBoolean();
        trustStore = Jmx.bytes(in);
        tunnelPort = in.readInt();
        token = Jmx.bytes(in);
        connectMs = in.readInt();
        wire = new Wire(this, tls);
    }

    void take(int bytes) throws IOException {
        left -= bytes;
        if (left < 0) {
            throw new Fault(Fault.TOO_LARGE, "an answer has more bytes than are read");
        }
        taken += bytes;
        if (taken > Memory.SMALL_BYTES_MAX && !memory.isAlone()) {
            memory.take(callMs == 0 ? System.nanoTime() + INVOKED_MS * 1000000L : deadline);
        }
        memory.look(taken);
    }

    boolean isLate() {
        return System.nanoTime() - deadline > 0;
    }

    void shut() {
        for (Wire.Tap tap : taps) {
            try {
                tap.close();
            } catch (IOException ignored) {
                // It is closed all the same.
            }
        }
    }

    /** Answers a question. What it takes of the heap is free again when this returns. */
    byte[] answer(byte[] question) throws Exception {
        DataInputStream head = new DataInputStream(new ByteArrayInputStream(question));
        int what = head.readByte();
        int limitMs = head.readInt();
        trusts = what != INVOKE;
        // One call that hangs leaves time for others, and what was had by then is told before the time is over.
        callMs = limitMs == 0 ? 0 : Math.max(100, limitMs / (what == READ ? 4 : 8));
        deadline = System.nanoTime() + limitMs * 1000000L * 5 / 8;
        try {
            try {
                return tried(question);
            } catch (OutOfMemoryError full) {
                // Perhaps another's answer filled the heap: once more, while no other is large. What may have been done is not done again.
                drop();
                if (what == INVOKE) {
                    throw new Fault(Fault.TOO_LARGE, "the operation was invoked; its result can not be told: it takes more memory than there is");
                }
                memory.take(deadline);
                return tried(question);
            }
        } finally {
            memory.release();
        }
    }

    private byte[] tried(byte[] asked) throws Exception {
        DataInputStream question = new DataInputStream(new ByteArrayInputStream(asked));
        int what = question.readByte();
        question.readInt();
        question.mark(0);
        boolean kept = connection != null;
        try {
            return answer(what, question);
        } catch (Exception thrown) {
            if (Fault.in(thrown) != null || !isLost(thrown)) {
                throw thrown;
            }
            drop();
            // A JVM that was started again, or a connection that somebody on the way closed. What may have been done is not done again.
            boolean again = kept && (what != INVOKE || thrown instanceof NoSuchObjectException);
            if (!again) {
                throw new Fault(Fault.UNREACHABLE, "the connection was lost: " + Fault.text(thrown));
            }
            question.reset();
            return answer(what, question);
        }
    }

    private byte[] answer(int what, DataInputStream question) throws Exception {
        refill(what == BROWSE ? Memory.BROWSED_BYTES_MAX : Memory.ANSWER_BYTES_MAX);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);
        bytes.write(0);
        answer(what, connected(), question, new DataOutputStream(bytes));
        return bytes.toByteArray();
    }

    private void answer(int what, RMIConnection to, DataInputStream question, DataOutputStream out) throws Exception {
        switch (what) {
            case READ:
                reads.read(this, to, question, out);
                break;
            case BROWSE:
                Browse.browse(this, to, question, out);
                break;
            case INVOKE:
                Invoke.invoke(to, question, out);
                break;
            default:
                throw new Fault(Fault.OTHER, "the question is not understood");
        }
    }

    /** More may come: one answer was read well. */
    void refill(long bytes) {
        left = bytes;
        taken = 0;
        memory.again();
    }

    /** Whether the connection is of no more use. What a call can fail with all the same is no loss. */
    static boolean isLost(Throwable thrown) {
        if (thrown instanceof UnmarshalException || thrown instanceof MarshalException) {
            Throwable cause = thrown.getCause();
            return cause instanceof EOFException || cause instanceof SocketException || cause instanceof SSLException;
        }
        return thrown instanceof java.rmi.ConnectException
                || thrown instanceof ConnectIOException
                || thrown instanceof NoSuchObjectException
                || (thrown instanceof IOException
                        && !(thrown instanceof RemoteException)
                        && !(thrown instanceof InvalidClassException)
                        && !(thrown instanceof NotSerializableException));
    }

    private void drop() {
        connection = null;
        reads.forget();
        shut();
    }

    private RMIConnection connected() throws Exception {
        if (connection == null) {
            int bound = callMs;
            callMs = connectMs;
            try {
                connection = connect();
            } finally {
                callMs = bound;
            }
        }
        return connection;
    }

    private RMIConnection connect() throws Exception {
        RMIServer server = server();
        RMIConnection made;
        try {
            made = server.newClient(credentials);
        } catch (SecurityException refused) {
            String why = credentials == null ? "it wants user and password" : "it refuses user or password";
            throw new Fault(Fault.AUTHENTICATION, why + ": " + Fault.text(refused));
        } catch (RemoteException failed) {
            throw unreachable(failed);
        }
        Object ref = liveRef(remote(made));
        RMIConnection usable = new RMIConnectionImpl_Stub(unicastRef(ref));
        keepAlive(ref);
        return usable;
    }

    private static Fault unreachable(Throwable failed) {
        Fault inner = Fault.in(failed);
        if (inner != null) {
            return inner;
        }
        if (isUntrusted(failed)) {
            return new Fault(Fault.UNREACHABLE, "its certificate is not trusted: " + Fault.text(failed));
        }
        if (Fault.has(failed, java.net.SocketTimeoutException.class)) {
            return new Fault(Fault.TIMED_OUT, "it does not answer: " + Fault.text(failed));
        }
        if (failed instanceof ConnectIOException && String.valueOf(failed.getMessage()).startsWith("non-JRMP")) {
            return new Fault(Fault.UNREACHABLE, "what answers there does not speak RMI, or wants TLS");
        }
        return new Fault(Fault.UNREACHABLE, Fault.text(failed));
    }

    private RMIServer server() throws Exception {
        Object found;
        try {
            found = look(wire);
        } catch (RemoteException failed) {
            if (!tls || !Fault.has(failed, SSLException.class) || isUntrusted(failed)) {
                throw unreachable(failed);
            }
            // With TLS at the agent alone, its registry speaks without: nothing secret is said to it, and what it names has to show its certificate.
            try {
                found = look(new Wire(this, false));
            } catch (RemoteException again) {
                throw unreachable(failed);
            }
        } catch (NotBoundException unknown) {
            throw new Fault(Fault.UNREACHABLE, "its registry has no `" + name + "`");
        }
        RemoteObject stub = found instanceof RMIServer ? remote(found) : null;
        if (stub == null) {
            String what = found == null ? "nothing" : "a " + found.getClass().getName();
            throw new Fault(Fault.UNREACHABLE, "what its registry has as `" + name + "` is no JMX agent but " + what);
        }
        Object ref = liveRef(stub);
        if (!tls && factory(stub) != null) {
            throw new Fault(Fault.INVALID, "the JVM speaks TLS only: its profile needs `tls: true`");
        }
        return new RMIServerImpl_Stub(unicastRef(ref));
    }

    private Object look(Wire by) throws RemoteException, NotBoundException {
        return LocateRegistry.getRegistry(host, port, by).lookup(name);
    }

    private static boolean isUntrusted(Throwable failed) {
        return Fault.has(failed, java.security.cert.CertificateException.class);
    }

    /** What knows where a stub leads: the stub itself, or what stands behind it where it was made as it came. */
    private static RemoteObject remote(Object stub) {
        Object holder = Proxy.isProxyClass(stub.getClass()) ? Proxy.getInvocationHandler(stub) : stub;
        return holder instanceof RemoteObject ? (RemoteObject) holder : null;
    }

    // A stub holds the address that the JVM thinks it has. What follows makes one that goes by our wire: the same object, by another way.

    private static RMIClientSocketFactory factory(RemoteObject stub) throws Exception {
        Object endpoint = endpoint(live(stub));
        return (RMIClientSocketFactory) endpoint.getClass().getMethod("getClientSocketFactory").invoke(endpoint);
    }

    private static Object live(RemoteObject stub) throws Exception {
        RemoteRef ref = stub.getRef();
        return ref.getClass().getMethod("getLiveRef").invoke(ref);
    }

    private static Object endpoint(Object live) throws Exception {
        Field field = live.getClass().getDeclaredField("ep");
        field.setAccessible(true);
        return field.get(live);
    }

    private Object liveRef(RemoteObject stub) throws Exception {
        Object live = live(stub);
        Object endpoint = endpoint(live);
        Class<?> type = endpoint.getClass();
        String at = (String) type.getMethod("getHost").invoke(endpoint);
        int on = ((Integer) type.getMethod("getPort").invoke(endpoint)).intValue();
        Constructor<?> make = null;
        for (Constructor<?> constructor : type.getConstructors()) {
            if (constructor.getParameterTypes().length == 4) {
                make = constructor;
            }
        }
        Object ours = make.newInstance(tunnelPort != 0 ? host : at, on, wire, null);
        ObjID id = (ObjID) live.getClass().getMethod("getObjID").invoke(live);
        Class<?> interfaced = Class.forName("sun.rmi.transport.Endpoint");
        return live.getClass().getConstructor(ObjID.class, interfaced, boolean.class).newInstance(id, ours, false);
    }

    private static RemoteRef unicastRef(Object live) throws Exception {
        return (RemoteRef) Class.forName("sun.rmi.server.UnicastRef").getConstructor(live.getClass()).newInstance(live);
    }

    /** Tells the JVM that its side of the connection is in use, as the runtime would for a stub that it made itself. */
    private static void keepAlive(Object live) throws Exception {
        Class<?> client = Class.forName("sun.rmi.transport.DGCClient");
        Class<?> interfaced = Class.forName("sun.rmi.transport.Endpoint");
        Method register = client.getDeclaredMethod("registerRefs", interfaced, java.util.List.class);
        register.setAccessible(true);
        register.invoke(null, endpoint(live), Collections.singletonList(live));
    }

    synchronized SSLContext sslContext() throws IOException {
        if (context != null) {
            return context;
        }
        try {
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(trustStore.length == 0 ? null : store());
            SSLContext made = SSLContext.getInstance("TLS");
            made.init(null, trust.getTrustManagers(), null);
            context = made;
            return made;
        } catch (Exception wrong) {
            throw new Fault(Fault.INVALID, "the trust store is of no use: " + Fault.text(wrong));
        }
    }

    private KeyStore store() throws Exception {
        KeyStore made = KeyStore.getInstance(KeyStore.getDefaultType());
        made.load(null, null);
        int number = 0;
        for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(trustStore))) {
            made.setCertificateEntry("trusted" + number++, one);
        }
        if (number == 0) {
            throw new Fault(Fault.INVALID, "there is no certificate in it");
        }
        return made;
    }
}
