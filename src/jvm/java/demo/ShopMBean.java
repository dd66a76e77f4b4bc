package demo;

/** What the demo's JVM tells of itself. */
public interface ShopMBean {
    long getOrders();

    int getWaiting();

    double getRush();

    String rush(double times);
}
