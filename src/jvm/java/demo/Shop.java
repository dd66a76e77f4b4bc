package demo;

import java.lang.management.ManagementFactory;
import java.util.ArrayDeque;
import javax.management.ObjectName;

/** A JVM for the demo to watch: it takes orders, some more when there are many, and forgets them. Ends with its process. */
public final class Shop implements ShopMBean {
    private static final int KEPT_MAX = 64;

    private volatile long orders;
    private volatile int waiting;
    private volatile double factor = 1.0;

    @Override
    public long getOrders() {
        return orders;
    }

    @Override
    public int getWaiting() {
        return waiting;
    }

    @Override
    public double getRush() {
        return factor;
    }

    @Override
    public String rush(double times) {
        factor = Math.max(0.0, Math.min(times, 100.0));
        return "orders come " + factor + " times as fast";
    }

    /** Never comes back. */
    public static void run() throws Exception {
        Shop shop = new Shop();
        ManagementFactory.getPlatformMBeanServer().registerMBean(shop, new ObjectName("demo:type=Shop"));
        ArrayDeque<byte[]> kept = new ArrayDeque<byte[]>();
        double due = 0;
        for (long tick = 0; ; tick++) {
            due += shop.factor * (3 + 2 * Math.sin(tick / 60.0));
            for (; due >= 1; due--) {
                shop.orders++;
                kept.add(new byte[16 << 10]);
                if (kept.size() > KEPT_MAX) {
                    kept.remove();
                }
            }
            shop.waiting = (int) (shop.factor * (4 + 3 * Math.cos(tick / 35.0)));
            Thread.sleep(200);
        }
    }
}
