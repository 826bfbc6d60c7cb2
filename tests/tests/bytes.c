// Compares the kernel's memory functions with loops over single bytes; runs under qemu-aarch64 without a C library.

typedef unsigned char byte;
typedef unsigned long size;

void *memmove(void *to, const void *from, size n);
void *memset(void *to, int value, size n);
int memcmp(const void *one, const void *other, size n);

enum { ROOM = 4096, ROUNDS = 60000 };
static byte tested[ROOM], expected[ROOM], scratch[ROOM];
static unsigned long seed = 1;

static size below(size limit) {
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (seed >> 33) % limit;
}

static void leave(int code) {
    register long x0 __asm__("x0") = code;
    register long x8 __asm__("x8") = 93; // exit
    __asm__ volatile("svc 0" : : "r"(x0), "r"(x8));
    __builtin_unreachable();
}

static void check(int holds, int code) {
    for (int i = 0; holds && i < ROOM; i++) holds = tested[i] == expected[i];
    if (!holds) leave(code);
}

static int sign(int value) { return (value > 0) - (value < 0); }

void _start(void) {
    for (int round = 0; round < ROUNDS; round++) {
        size n = below(3) ? below(80) : below(1500), from = below(1500), to = below(2) ? from + below(65) : below(1500);
        byte value = below(2) ? 0 : below(256);
        for (int i = 0; i < ROOM; i += 1 + (round % 7)) tested[i] = expected[i] = below(256);

        for (size i = 0; i < n; i++) scratch[i] = expected[from + i];
        for (size i = 0; i < n; i++) expected[to + i] = scratch[i];
        check(memmove(tested + to, tested + from, n) == tested + to, 1);

        for (size i = 0; i < n; i++) expected[from + i] = value;
        check(memset(tested + from, value, n) == tested + from, 2);

        for (size i = 0; i < n; i++) scratch[from + i] = tested[from + i];
        if (n && below(2)) scratch[from + below(n)] ^= 1 + below(255);
        int order = 0;
        for (size i = 0; i < n && !order; i++) order = tested[from + i] - scratch[from + i];
        check(sign(memcmp(tested + from, scratch + from, n)) == sign(order), 3);
    }
    leave(0);
}
