package rscaler;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.rmi.server.RMISocketFactory;
import javax.net.ssl.SSLSocketFactory;

/** No connection is made but through a {@link Wire}: an address that a JVM merely names is never tried. */
final class Deny extends RMISocketFactory {
    @Override
    public Socket createSocket(String host, int port) throws IOException {
        throw new SocketException("not by this way");
    }

    @Override
    public ServerSocket createServerSocket(int port) throws IOException {
        throw new SocketException("nothing listens here");
    }

    /** The same for what wants TLS; named in a security property, and so public with a constructor. */
    public static final class Tls extends SSLSocketFactory {
        public Tls() {}

        @Override
        public String[] getDefaultCipherSuites() {
            return new String[0];
        }

        @Override
        public String[] getSupportedCipherSuites() {
            return new String[0];
        }

        @Override
        public Socket createSocket(Socket socket, String host, int port, boolean close) throws IOException {
            throw new SocketException("not by this way");
        }

        @Override
        public Socket createSocket(String host, int port) throws IOException {
            throw new SocketException("not by this way");
        }

        @Override
        public Socket createSocket(String host, int port, InetAddress local, int localPort) throws IOException {
            throw new SocketException("not by this way");
        }

        @Override
        public Socket createSocket(InetAddress host, int port) throws IOException {
            throw new SocketException("not by this way");
        }

        @Override
        public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort) throws IOException {
            throw new SocketException("not by this way");
        }
    }
}
