package rscaler;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.Charset;
import java.rmi.server.RMISocketFactory;
import java.security.Security;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * What speaks JMX for a peer of rscaler. Called by its child process through JNI; a target has one call at a time, and {@link #shut} may come from any
 * thread. Questions and answers are bytes: see src/jvm/wire.rs.
 */
public final class Jmx {
    static final Charset UTF8 = Charset.forName("UTF-8");
    private static final int FAULT_CHARS_MAX = 400;
    private static final Map<Long, Target> TARGETS = new ConcurrentHashMap<Long, Target>();

    private Jmx() {}

    public static void start() throws IOException {
        // What the runtime does by threads of its own it has to go on doing: one that lost such a thread is replaced as a whole.
        Thread.setDefaultUncaughtExceptionHandler(new Thread.UncaughtExceptionHandler() {
            @Override
            public void uncaughtException(Thread thread, Throwable thrown) {
                if (thrown instanceof VirtualMachineError) {
                    Runtime.getRuntime().halt(3);
                }
                System.err.println(thread.getName() + ": " + thrown);
            }
        });
        RMISocketFactory.setSocketFactory(new Deny());
        Security.setProperty("ssl.SocketFactory.provider", Deny.Tls.class.getName());
    }

    public static byte[] version() {
        return System.getProperty("java.version").getBytes(UTF8);
    }

    public static void define(long id, byte[] spec) throws IOException {
        TARGETS.put(id, new Target(new DataInputStream(new ByteArrayInputStream(spec))));
    }

    public static void forget(long id) {
        Target target = TARGETS.remove(id);
        if (target != null) {
            target.shut();
        }
    }

    /** Ends what goes on with a target: whoever waits for it gets an error at once. */
    public static void shut(long id) {
        Target target = TARGETS.get(id);
        if (target != null) {
            target.shut();
        }
    }

    public static byte[] call(long id, byte[] question) throws IOException {
        try {
            Target target = TARGETS.get(id);
            if (target == null) {
                throw new Fault(Fault.OTHER, "the target is not known");
            }
            return target.answer(question);
        } catch (OutOfMemoryError error) {
            return fault(Fault.TOO_LARGE, "the answer takes more memory than there is");
        } catch (LinkageError broken) {
            if (Memory.hasRunOut()) {
                // A class that memory ran out for while it was being made ready stays unusable.
                Runtime.getRuntime().halt(3);
            }
            return fault(Fault.OTHER, Fault.text(broken));
        } catch (Fault fault) {
            return fault(fault.kind, fault.getMessage());
        } catch (Throwable thrown) {
            Fault inner = Fault.in(thrown);
            return inner != null ? fault(inner.kind, inner.getMessage()) : fault(Fault.OTHER, Fault.text(thrown));
        }
    }

    private static byte[] fault(int kind, String text) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(128);
        fault(new DataOutputStream(bytes), kind, text);
        return bytes.toByteArray();
    }

    static void fault(DataOutputStream out, int kind, String text) throws IOException {
        out.writeByte(kind);
        String said = text == null ? "" : text;
        string(out, said.length() > FAULT_CHARS_MAX ? said.substring(0, FAULT_CHARS_MAX) + "..." : said);
    }

    static void string(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(UTF8);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    static String string(DataInputStream in) throws IOException {
        return new String(bytes(in), UTF8);
    }

    static byte[] bytes(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return bytes;
    }
}
