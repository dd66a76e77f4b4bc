/*
 * A bad network between namespaces: packets that peers send each other go through this process, which delays, loses,
 * doubles and so reorders them. The kernel need not know how to.
 *
 *   switch NAMESPACE=ADDRESS...    makes a device `bad0` in each namespace, says "ready", and ends with its standard input
 *   stdin: DELAY_US JITTER_US LOSS_PPM DOUBLE_PPM\n    how bad it is from now on
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PORTS 16
#define WAITING 65536

static struct port {
    int fd;
    uint32_t address;
} ports[PORTS];
static int port_count;

static struct packet {
    int64_t due;
    int to;
    int length;
    unsigned char *bytes;
} heap[WAITING];
static int waiting;

static int64_t delay_us, jitter_us, loss_ppm, double_ppm;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void swap(int a, int b) {
    struct packet held = heap[a];
    heap[a] = heap[b], heap[b] = held;
}

static void wait_for(struct packet packet) {
    if (waiting == WAITING) {
        free(packet.bytes);
        return;
    }
    int at = waiting++;
    heap[at] = packet;
    for (; at && heap[(at - 1) / 2].due > heap[at].due; at = (at - 1) / 2) swap(at, (at - 1) / 2);
}

static void deliver(void) {
    struct packet first = heap[0];
    heap[0] = heap[--waiting];
    for (int at = 0;;) {
        int least = at;
        for (int child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < waiting && heap[child].due < heap[least].due) least = child;
        if (least == at) break;
        swap(at, least), at = least;
    }
    if (write(ports[first.to].fd, first.bytes, first.length) < 0 && errno != EAGAIN && errno != EIO) perror("write");
    free(first.bytes);
}

static int64_t random_of(int64_t most) { return most ? (int64_t)(((uint64_t)random() << 31 | random()) % (uint64_t)most) : 0; }

static void take(const unsigned char *bytes, int length) {
    uint32_t to;
    if (length < 20 || bytes[0] >> 4 != 4) return;
    memcpy(&to, bytes + 16, 4);
    for (int port = 0; port < port_count; port++) {
        if (ports[port].address != to) continue;
        int copies = 1 + (random_of(1000000) < double_ppm);
        while (copies--) {
            if (random_of(1000000) < loss_ppm) continue;
            struct packet packet = {now_us() + delay_us + random_of(jitter_us), port, length, malloc(length)};
            if (!packet.bytes) die("malloc");
            memcpy(packet.bytes, bytes, length);
            wait_for(packet);
        }
    }
}

static void add(char *argument) {
    char *equals = strchr(argument, '='), path[256];
    if (!equals || port_count == PORTS) die("usage");
    *equals = 0;
    snprintf(path, sizeof path, "/run/netns/%s", argument);
    int namespace = open(path, O_RDONLY), tun;
    if (namespace < 0 || setns(namespace, CLONE_NEWNET)) die(path);
    close(namespace);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "bad0");
    if ((tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0 || ioctl(tun, TUNSETIFF, &request)) die("/dev/net/tun");
    ports[port_count].fd = tun;
    if (inet_pton(AF_INET, equals + 1, &ports[port_count++].address) != 1) die(equals + 1);
}

int main(int count, char **arguments) {
    static unsigned char bytes[65536];
    char line[256];
    int length = 0;
    for (int i = 1; i < count; i++) add(arguments[i]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd polls[PORTS + 1];
        for (int port = 0; port < port_count; port++) polls[port] = (struct pollfd){ports[port].fd, POLLIN, 0};
        polls[port_count] = (struct pollfd){0, POLLIN, 0};
        struct timespec wait = {1, 0};
        if (waiting) {
            int64_t left = heap[0].due - now_us();
            if (left < 0) left = 0;
            wait.tv_sec = left / 1000000, wait.tv_nsec = left % 1000000 * 1000;
        }
        if (ppoll(polls, port_count + 1, &wait, NULL) < 0 && errno != EINTR) die("poll");
        for (int port = 0; port < port_count; port++) {
            if (!(polls[port].revents & POLLIN)) continue;
            for (int i = 0; i < 64; i++) {
                ssize_t got = read(ports[port].fd, bytes, sizeof bytes);
                if (got <= 0) break;
                take(bytes, (int)got);
            }
        }
        while (waiting && heap[0].due <= now_us()) deliver();
        if (polls[port_count].revents) {
            ssize_t got = read(0, line + length, sizeof line - 1 - length);
            if (got <= 0) return 0;
            length += got, line[length] = 0;
            char *end;
            while ((end = strchr(line, '\n'))) {
                long a, b, c, d;
                if (sscanf(line, "%ld %ld %ld %ld", &a, &b, &c, &d) == 4)
                    delay_us = a, jitter_us = b, loss_ppm = c, double_ppm = d;
                length -= (int)(end + 1 - line);
                memmove(line, end + 1, length + 1);
            }
        }
    }
}
