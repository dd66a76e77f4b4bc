package rscaler;

import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.DataInputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.rmi.server.RMIClientSocketFactory;
import javax.net.ssl.SSLSocket;

/**
 * Where all connections to one JVM are made. Each target has its own, so that connections are never shared between targets whose JVMs call
 * themselves by the same wrong name.
 */
final class Wire implements RMIClientSocketFactory {
    private final Target target;
    private final boolean tls;

    Wire(Target target, boolean tls) {
        this.target = target;
        this.tls = tls;
    }

    @Override
    public Socket createSocket(String host, int port) throws IOException {
        Tap tap = new Tap(target);
        boolean done = false;
        try {
            tap.setTcpNoDelay(true);
            if (target.tunnelPort != 0) {
                throughTunnel(tap, port);
            } else {
                InetSocketAddress address = new InetSocketAddress(host, port);
                if (address.isUnresolved()) {
                    throw new IOException("the name " + host + " can not be resolved");
                }
                tap.connect(address, target.connectMs);
            }
            Socket socket = tap;
            if (tls) {
                tap.setSoTimeout(target.connectMs);
                SSLSocket secure = (SSLSocket) target.sslContext().getSocketFactory().createSocket(tap, host, port, true);
                secure.startHandshake();
                secure.setSoTimeout(0);
                socket = secure;
            }
            tap.established = true;
            done = true;
            return socket;
        } finally {
            if (!done) {
                tap.close();
            }
        }
    }

    /** The peer's own port takes the token that it gave this target, and the port at the node. What the JVM says of its host does not matter. */
    private void throughTunnel(Tap tap, int port) throws IOException {
        tap.connect(new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), target.tunnelPort), target.connectMs);
        byte[] hello = new byte[target.token.length + 2];
        System.arraycopy(target.token, 0, hello, 0, target.token.length);
        hello[target.token.length] = (byte) (port >> 8);
        hello[target.token.length + 1] = (byte) port;
        tap.setSoTimeout(target.connectMs);
        OutputStream out = tap.getOutputStream();
        out.write(hello);
        out.flush();
        DataInputStream in = new DataInputStream(tap.getInputStream());
        if (in.readByte() != 0) {
            byte[] why = new byte[in.readUnsignedByte()];
            in.readFully(why);
            throw new IOException(new String(why, "UTF-8"));
        }
        tap.setSoTimeout(0);
    }

    /** A plain connection that is closed with its target, and takes no more bytes than the target has left. */
    static final class Tap extends Socket {
        /** What asks on an idle connection whether the other side is there, and the answer. */
        private static final int PING = 0x52;
        private static final int PING_ANSWER = 0x53;

        private final Target target;
        /** The other side spoke last: what is written next begins a message. */
        private volatile boolean answered;
        private volatile boolean pinged;
        private int boundMs;
        /** The handshakes are over: their bounds are not touched. */
        private volatile boolean established;

        Tap(Target target) {
            this.target = target;
            target.taps.add(this);
        }

        @Override
        public InputStream getInputStream() throws IOException {
            return new FilterInputStream(super.getInputStream()) {
                @Override
                public int read() throws IOException {
                    if (pinged) {
                        pinged = false;
                        answered = true;
                        return PING_ANSWER;
                    }
                    bound();
                    int read = in.read();
                    took(read < 0 ? 0 : 1);
                    return read;
                }

                @Override
                public int read(byte[] into, int offset, int length) throws IOException {
                    if (pinged && length > 0) {
                        pinged = false;
                        answered = true;
                        into[offset] = PING_ANSWER;
                        return 1;
                    }
                    bound();
                    int read = in.read(into, offset, length);
                    took(Math.max(read, 0));
                    return read;
                }
            };
        }

        /** One call that hangs is not to use up the time of all that was asked for. */
        private void bound() throws IOException {
            int wanted = target.callMs;
            if (established && boundMs != wanted) {
                super.setSoTimeout(wanted);
                boundMs = wanted;
            }
        }

        private void took(int bytes) throws IOException {
            answered = true;
            target.take(bytes);
        }

        /**
         * RMI asks before nearly every call whether a connection that was idle still stands, which costs as much as the call. Reads do without:
         * one that fails on a connection that no longer stands is made again on a new one.
         */
        @Override
        public OutputStream getOutputStream() throws IOException {
            final OutputStream out = super.getOutputStream();
            return new OutputStream() {
                @Override
                public void write(int one) throws IOException {
                    write(new byte[] {(byte) one}, 0, 1);
                }

                @Override
                public void write(byte[] from, int offset, int length) throws IOException {
                    if (answered && length == 1 && from[offset] == PING && target.trusts) {
                        pinged = true;
                        return;
                    }
                    answered = false;
                    out.write(from, offset, length);
                }

                @Override
                public void flush() throws IOException {
                    out.flush();
                }

                @Override
                public void close() throws IOException {
                    out.close();
                }
            };
        }

        /** RMI has its own idea when it takes the connection. */
        @Override
        public synchronized void setSoTimeout(int ms) throws java.net.SocketException {
            boundMs = ms;
            super.setSoTimeout(ms);
        }

        @Override
        public void close() throws IOException {
            target.taps.remove(this);
            super.close();
        }
    }
}
