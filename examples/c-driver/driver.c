// QEMU's firmware configuration device, in C. Registers: QEMU, docs/specs/fw_cfg.rst.
#include <stdint.h>

struct registers {
    volatile uint64_t data;
    volatile uint16_t selector;
};

enum { SIGNATURE = 0x0000, PROCESSORS = 0x0005 };

// Set before anything else of the module runs, as the module's `.init_array` asks for.
static const char *expected;

__attribute__((constructor)) static void initialize(void) { expected = "QEMU"; }

static void read_item(struct registers *registers, uint16_t key, uint8_t *bytes, int count)
{
    registers->selector = __builtin_bswap16(key);
    for (int i = 0; i < count; i++)
        bytes[i] = *(volatile uint8_t *)&registers->data;
}

// How many processors the machine has; -1 if this is no such device.
int fw_cfg_processors(struct registers *registers)
{
    uint8_t bytes[4];
    read_item(registers, SIGNATURE, bytes, 4);
    for (int i = 0; i < 4; i++)
        if (bytes[i] != expected[i])
            return -1;
    read_item(registers, PROCESSORS, bytes, 2);
    return bytes[0] | bytes[1] << 8;
}
