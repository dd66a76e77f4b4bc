package rscaler;

import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * The heap is small, and all targets share it. Small answers are read at the same time; a large one is read while no other is. So what has no place all the
 * same is told to the one who sent it, and to nobody else.
 */
final class Memory {
    /** Bytes of an answer that many may have at once. A byte that is sent can take twenty-four where it is read: it may be a link of a list. */
    static final long SMALL_BYTES_MAX = 32 << 10;
    /** Bytes of the attributes of an MBean: read, they fit in the heap whatever they are. */
    static final long VALUES_BYTES_MAX = 1 << 20;
    /** Bytes of the names that match a pattern, or of an operation's result. */
    static final long ANSWER_BYTES_MAX = 8 << 20;
    /** Bytes of the names that match where somebody browses. */
    static final long BROWSED_BYTES_MAX = 24 << 20;

    private static final Semaphore LARGE = new Semaphore(1, true);
    private static volatile boolean ranOut;

    /** Whether this one has the place of the large one. */
    private boolean alone;

    static boolean hasRunOut() {
        return ranOut;
    }

    boolean isAlone() {
        return alone;
    }

    /** Waits until no other large answer is being read. */
    void take(long untilNs) throws Fault {
        if (alone) {
            return;
        }
        try {
            alone = LARGE.tryAcquire(Math.max(0, untilNs - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
        if (!alone) {
            throw new Fault(Fault.TIMED_OUT, "the large answers of other JVMs took all the time");
        }
    }

    void release() {
        if (alone) {
            alone = false;
            LARGE.release();
        }
    }

    /** Memory ran out: goes on where this one alone can be the reason, and not where another may be. */
    void blame(OutOfMemoryError error) {
        ranOut = true;
        if (!alone) {
            throw error;
        }
    }
}
