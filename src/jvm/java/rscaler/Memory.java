package rscaler;

import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryUsage;
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
    /** How many bytes of a large answer are read between two looks at what is left of the heap. */
    private static final long LOOK_EVERY_BYTES = 64 << 10;
    private static MemoryPoolMXBean old;
    private static volatile boolean ranOut;

    private long looked;
    private boolean filled;

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

    /**
     * Called as a large answer comes. What fills the heap is not read on: long before memory runs out everything else would stand still, while the
     * collector looks again and again for what is not there.
     */
    void look(long bytes) throws Fault {
        if (!alone || bytes - looked < LOOK_EVERY_BYTES) {
            return;
        }
        looked = bytes;
        MemoryUsage after = after();
        if (after != null && after.getUsed() > after.getMax() / 4 * 3) {
            filled = true;
            throw new Fault(Fault.TOO_LARGE, "it takes more memory than there is");
        }
    }

    /** Another answer comes. */
    void again() {
        looked = 0;
    }

    /** What was in use after the last full collection. Absent before it, and with other collectors. */
    private static synchronized MemoryUsage after() {
        if (old == null) {
            for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
                if (pool.getName().startsWith("Tenured")) {
                    old = pool;
                }
            }
        }
        return old == null ? null : old.getCollectionUsage();
    }

    void release() {
        looked = 0;
        if (alone) {
            if (filled) {
                filled = false;
                // The next one is not to be blamed for it.
                System.gc();
            }
            alone = false;
            LARGE.release();
        }
    }

    /** Memory ran out: goes on where this one alone can be the reason, and not where another may be. */
    void blame(OutOfMemoryError error) {
        ranOut = true;
        filled = true;
        if (!alone) {
            throw error;
        }
    }
}
