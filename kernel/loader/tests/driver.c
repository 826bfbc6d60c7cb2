/* A module in C with what compilers make of it: calls, constants, tables of addresses, zeroed and initialized data. */
typedef unsigned long size_t;

extern int printk(const char *format, ...);
extern void *allocate(size_t size);
extern int missing(void) __attribute__((weak));
extern const char *const names[];
extern struct device { int number; char state; long long counter; } devices[4];

static int zeroed[1000];
static long counter = 42;
static const short table[] = { 1, -2, 3, -4, 5 };
char bytes[3] __attribute__((aligned(64))) = "ab";
int *pointer = &zeroed[7];
double ratio = 2.5;

static int probe(struct device *device) { return printk("device %d\n", device->number); }
static int remove_device(struct device *device) { device->state = 0; return 0; }

struct operations { int (*probe)(struct device *); int (*remove)(struct device *); const char *name; };
const struct operations LOCKSTEP_MODULE = { probe, remove_device, "driver" };

long work(int index, long long *wide, double factor)
{
    counter += table[index % 5] + bytes[index % 3] + zeroed[index];
    devices[index & 3].counter += *wide;
    zeroed[index] = (int)(ratio * factor);
    if (missing)
        missing();
    switch (index) {
    case 0: return printk("zero %s\n", names[0]);
    case 1: return printk("one %s\n", names[1]);
    case 2: return (long)allocate(100);
    case 3: return (long)&work;
    case 4: return *pointer;
    case 5: return printk("five\n") + counter;
    }
    return counter;
}

__attribute__((constructor)) static void start(void) { printk("start\n"); }
__attribute__((constructor(200))) static void second(void) { printk("second\n"); }
__attribute__((constructor(101))) static void first(void) { printk("first\n"); }
