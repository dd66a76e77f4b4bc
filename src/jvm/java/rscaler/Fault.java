package rscaler;

import java.io.IOException;

/** Why something can not be had, in the words of the one who asked. */
final class Fault extends IOException {
    private static final long serialVersionUID = 1;

    static final int UNREACHABLE = 1;
    static final int AUTHENTICATION = 2;
    static final int MISSING = 3;
    static final int THREW = 4;
    static final int NOT_A_NUMBER = 5;
    static final int TOO_LARGE = 6;
    static final int TIMED_OUT = 7;
    static final int OTHER = 8;
    static final int INVALID = 9;

    final int kind;

    Fault(int kind, String text) {
        super(text, null);
        this.kind = kind;
    }

    /** Not filled in: nobody looks at it, and it costs more than what failed. */
    @Override
    public synchronized Throwable fillInStackTrace() {
        return this;
    }

    /** The innermost cause, as one line. */
    static String text(Throwable thrown) {
        Throwable inner = thrown;
        for (int depth = 0; inner.getCause() != null && inner.getCause() != inner && depth < 20; depth++) {
            inner = inner.getCause();
        }
        if (inner instanceof Fault) {
            return inner.getMessage();
        }
        String name = inner.getClass().getName();
        name = name.substring(name.lastIndexOf('.') + 1);
        String message = inner.getMessage();
        return message == null || message.isEmpty() ? name : name + ": " + message;
    }

    static Fault in(Throwable thrown) {
        Throwable inner = thrown;
        for (int depth = 0; inner != null && depth < 20; depth++) {
            if (inner instanceof Fault) {
                return (Fault) inner;
            }
            inner = inner.getCause();
        }
        return null;
    }

    /** Whether an answer had more than is taken: of bytes, or what the JDK's own bounds on what comes from elsewhere count. */
    static boolean large(Throwable thrown) {
        Fault inner = in(thrown);
        if (inner != null) {
            return inner.kind == TOO_LARGE;
        }
        return has(thrown, java.io.InvalidClassException.class) && String.valueOf(text(thrown)).contains("REJECTED");
    }

    static boolean has(Throwable thrown, Class<?> kind) {
        Throwable inner = thrown;
        for (int depth = 0; inner != null && depth < 20; depth++) {
            if (kind.isInstance(inner)) {
                return true;
            }
            inner = inner.getCause();
        }
        return false;
    }
}
