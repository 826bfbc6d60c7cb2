/* The first program of the Linux that `./x bench --linux` measures.
 *
 * It loads the modules in the folder that its argument names, in the order of the list below, gives eth0 its address,
 * pings the gateway until it answers, and echoes UDP datagrams; the kernel itself answers pings. What it prints is what
 * the benchmark waits for. MARK is an unallocated hint, which does nothing; the plugin logs it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/ip_icmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define MARK(number) __asm__ volatile("hint #%0" ::"i"(number) : "memory")
#define BEFORE_MODULE 0x60
#define AFTER_MODULE 0x61

#define ADDRESS "10.0.2.15"
#define MASK "255.255.255.0"
#define GATEWAY "10.0.2.2"
#define ECHO_PORT 7

static const char *const modules[] = {"virtio_mmio", "failover", "net_failover", "virtio_net"};

static void say(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vdprintf(1, format, values);
    va_end(values);
}

static void fail(const char *what) {
    say("init: cannot %s: %m\n", what);
    pause();
}

static void load(const char *folder, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/%s/%s.ko", folder, name);
    int file = open(path, O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) fail(path);
    void *contents = malloc(status.st_size);
    if (read(file, contents, status.st_size) != status.st_size) fail(path);
    MARK(BEFORE_MODULE);
    long result = syscall(SYS_init_module, contents, (unsigned long)status.st_size, "");
    MARK(AFTER_MODULE);
    if (result != 0) fail(path);
    free(contents);
    close(file);
}

static struct sockaddr ipv4(const char *text, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, text, &address.sin_addr);
    struct sockaddr general;
    memcpy(&general, &address, sizeof general);
    return general;
}

static void set_address(void) {
    int control = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_name = "eth0"};
    request.ifr_addr = ipv4(ADDRESS, 0);
    if (ioctl(control, SIOCSIFADDR, &request) != 0) fail("set the address");
    request.ifr_netmask = ipv4(MASK, 0);
    if (ioctl(control, SIOCSIFNETMASK, &request) != 0) fail("set the mask");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &request) != 0) fail("bring eth0 up");
    struct sockaddr any = ipv4("0.0.0.0", 0);
    struct rtentry route = {.rt_dst = any, .rt_genmask = any, .rt_gateway = ipv4(GATEWAY, 0)};
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    if (ioctl(control, SIOCADDRT, &route) != 0) fail("set the route");
    close(control);
}

static uint16_t checksum(const void *bytes, size_t length) {
    const uint16_t *words = bytes;
    uint32_t sum = 0;
    for (size_t index = 0; index < length / 2; index++) sum += words[index];
    sum = (sum >> 16) + (sum & 0xffff);
    return ~(sum + (sum >> 16));
}

static void ping_until_answered(void) {
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    struct timeval patience = {.tv_usec = 20000};
    setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct sockaddr gateway = ipv4(GATEWAY, 0);
    for (uint16_t sequence = 0;; sequence++) {
        struct { struct icmphdr header; char data[56]; } request = {.header = {.type = ICMP_ECHO}};
        request.header.un.echo.sequence = htons(sequence);
        request.header.checksum = checksum(&request, sizeof request);
        sendto(raw, &request, sizeof request, 0, &gateway, sizeof gateway);
        struct { char ip[20]; struct icmphdr header; char data[256]; } reply;
        while (recv(raw, &reply, sizeof reply, 0) > 0) {
            if (reply.header.type != ICMP_ECHOREPLY) continue;
            close(raw);
            return;
        }
    }
}

static void echo(void) {
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr address = ipv4("0.0.0.0", ECHO_PORT);
    if (bind(udp, &address, sizeof address) != 0) fail("use the echo port");
    say("serving\n");
    for (;;) {
        char data[2048];
        struct sockaddr from;
        socklen_t from_length = sizeof from;
        ssize_t length = recvfrom(udp, data, sizeof data, 0, &from, &from_length);
        if (length >= 0) sendto(udp, data, length, 0, &from, from_length);
    }
}

/* Arguments: the folder, and perhaps how many seconds to let pass first, for late work of the kernel's own. */
int main(int count, char **arguments) {
    say("init ready\n");
    if (count > 2) sleep(atoi(arguments[2]));
    for (size_t index = 0; index < sizeof modules / sizeof *modules; index++) load(arguments[1], modules[index]);
    set_address();
    ping_until_answered();
    say("net answered\n");
    sleep(1);
    struct sysinfo memory;
    sysinfo(&memory);
    say("free %llu\n", (unsigned long long)memory.freeram * memory.mem_unit);
    echo();
}
