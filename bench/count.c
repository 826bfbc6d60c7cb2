/* A TCG plugin for QEMU that counts guest instructions, exactly, and says where they went.
 *
 * Arguments:
 *   out=FILE           one line for each line on the console: "line COUNT TEXT", COUNT being the instructions up to its
 *                      last byte; one for each visit to a watched address: "visit COUNT ADDRESS"; and one for each mark
 *                      that the guest sets by executing `hint #NUMBER`, 0x60 to 0x6f: "mark COUNT NUMBER"
 *   console=ADDRESS    the physical address of the register that the console's bytes are written to
 *   watch=ADDRESS      a virtual address whose execution is logged; may be given up to 16 times
 *   control=PATH       a datagram socket: "count" is answered with the instructions so far; "profile FILE" writes
 *                      "ADDRESS COUNT" for each instruction that was executed to FILE, and is answered like "count"
 *   profile=on         count each instruction by its address as well
 *
 * The guest needs no change. The plugin's own declarations of the API (version 4, QEMU 9.2 and later) stand in for QEMU's
 * header, which Debian does not package.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- The part of qemu-plugin.h that is needed ------------------------------------------------------------------------ */

#define EXPORT __attribute__((visibility("default")))
#define NO_REGISTERS 0
#define WRITES 2
#define ADD 0

typedef struct { void *score; size_t offset; } Counter;
typedef struct { int kind; union { uint8_t u8; uint16_t u16; uint32_t u32; uint64_t u64; uint64_t u128[2]; } data; } Value;

size_t qemu_plugin_tb_n_insns(const void *block);
void *qemu_plugin_tb_get_insn(const void *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const void *instruction);
size_t qemu_plugin_insn_data(const void *instruction, void *bytes, size_t length);
void *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_sum(Counter counter);
void *qemu_plugin_get_hwaddr(uint32_t info, uint64_t address);
uint64_t qemu_plugin_hwaddr_phys_addr(const void *address);
bool qemu_plugin_hwaddr_is_io(const void *address);
Value qemu_plugin_mem_get_value(uint32_t info);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, void (*)(uint64_t plugin, void *block));
void qemu_plugin_register_vcpu_insn_exec_cb(void *instruction, void (*)(unsigned cpu, void *data), int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(void *instruction, int operation, Counter counter, uint64_t by);
void qemu_plugin_register_vcpu_mem_cb(void *instruction, void (*)(unsigned cpu, uint32_t info, uint64_t address, void *data),
                                      int flags, int accesses, void *data);
EXPORT int qemu_plugin_version = 4;

/* --- Counting -------------------------------------------------------------------------------------------------------- */

static FILE *out;
static Counter total;

static unsigned long long counted(void) { return qemu_plugin_u64_sum(total); }

/* One counter for each address, in an open hash table; addresses beyond its size share the last counter. */
#define SLOTS (1u << 20)
static bool profiling;
static void *scores;
static uint64_t addresses[SLOTS];

static Counter counter_of(uint64_t address) {
    uint32_t slot = (address >> 2) * 0x9e3779b1u % SLOTS;
    for (uint32_t tries = 0; tries < SLOTS; tries++, slot = (slot + 1) % SLOTS) {
        if (!addresses[slot]) addresses[slot] = address;
        if (addresses[slot] == address) break;
    }
    return (Counter){scores, slot * sizeof(uint64_t)};
}

static void write_profile(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) { perror(path); return; }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (!addresses[slot]) continue;
        unsigned long long count = qemu_plugin_u64_sum((Counter){scores, slot * sizeof(uint64_t)});
        if (count) fprintf(file, "%llx %llu\n", (unsigned long long)addresses[slot], count);
    }
    fclose(file);
}

/* --- What is logged -------------------------------------------------------------------------------------------------- */

#define MOST_WATCHED 16
static uint64_t watched[MOST_WATCHED];
static size_t watched_count;
static uint64_t console;

static void on_watched(unsigned cpu, void *data) {
    fprintf(out, "visit %llu %llx\n", counted(), (unsigned long long)(uintptr_t)data);
    fflush(out);
}

/* `hint` instructions (Arm Architecture Reference Manual, C6.2), of which those in the range of marks do nothing. */
static bool is_hint(uint32_t code) { return (code & 0xfffff01f) == 0xd503201f; }
static uint32_t hint_number(uint32_t code) { return code >> 5 & 0x7f; }
#define FIRST_MARK 0x60
#define LAST_MARK 0x6f

static void on_mark(unsigned cpu, void *data) {
    fprintf(out, "mark %llu %u\n", counted(), (unsigned)(uintptr_t)data);
    fflush(out);
}

static void on_write(unsigned cpu, uint32_t info, uint64_t address, void *data) {
    static char line[1024];
    static size_t length;
    /* Registers begin at a page of their own: most stores are told by their virtual address. */
    if ((address ^ console) & 0xfff) return;
    const void *physical = qemu_plugin_get_hwaddr(info, address);
    if (!physical || !qemu_plugin_hwaddr_is_io(physical) || qemu_plugin_hwaddr_phys_addr(physical) != console) return;
    char byte = qemu_plugin_mem_get_value(info).data.u8;
    if (byte == '\n') {
        fprintf(out, "line %llu %.*s\n", counted(), (int)length, line);
        fflush(out);
        length = 0;
    } else if (byte != '\r' && length < sizeof line) {
        line[length++] = byte;
    }
}

static void on_translation(uint64_t plugin, void *block) {
    size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t index = 0; index < count; index++) {
        void *instruction = qemu_plugin_tb_get_insn(block, index);
        uint64_t address = qemu_plugin_insn_vaddr(instruction);
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD, total, 1);
        if (profiling) qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD, counter_of(address), 1);
        if (console) qemu_plugin_register_vcpu_mem_cb(instruction, on_write, NO_REGISTERS, WRITES, NULL);
        uint32_t code = 0, number;
        qemu_plugin_insn_data(instruction, &code, sizeof code);
        if (is_hint(code) && (number = hint_number(code)) >= FIRST_MARK && number <= LAST_MARK)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, NO_REGISTERS, (void *)(uintptr_t)number);
        for (size_t watch = 0; watch < watched_count; watch++)
            if (watched[watch] == address)
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_watched, NO_REGISTERS, (void *)(uintptr_t)address);
    }
}

/* --- Control --------------------------------------------------------------------------------------------------------- */

static void *serve_control(void *data) {
    int control = (int)(intptr_t)data;
    for (;;) {
        char request[512];
        struct sockaddr_un peer;
        socklen_t peer_length = sizeof peer;
        ssize_t length = recvfrom(control, request, sizeof request - 1, 0, (struct sockaddr *)&peer, &peer_length);
        if (length < 0) return NULL;
        request[length] = 0;
        if (profiling && !strncmp(request, "profile ", 8)) write_profile(request + 8);
        char answer[32];
        int answer_length = snprintf(answer, sizeof answer, "%llu", counted());
        sendto(control, answer, answer_length, 0, (struct sockaddr *)&peer, peer_length);
    }
}

static bool open_control(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) { fprintf(stderr, "count: %s is too long for a socket\n", path); return false; }
    strcpy(address.sun_path, path);
    int control = socket(AF_UNIX, SOCK_DGRAM, 0);
    pthread_t thread;
    if (control < 0 || bind(control, (struct sockaddr *)&address, sizeof address) != 0 ||
        pthread_create(&thread, NULL, serve_control, (void *)(intptr_t)control) != 0) {
        perror(path);
        return false;
    }
    return true;
}

EXPORT int qemu_plugin_install(uint64_t plugin, const void *info, int count, char **arguments) {
    for (int index = 0; index < count; index++) {
        char *argument = arguments[index], *value = strchr(argument, '=');
        size_t length = value ? (size_t)(value++ - argument) : 0;
        #define IS(name) (length == sizeof name - 1 && !strncmp(argument, name, length))
        if (IS("out") && (out = fopen(value, "w"))) continue;
        if (IS("console") && (console = strtoull(value, NULL, 0))) continue;
        if (IS("watch") && watched_count < MOST_WATCHED) { watched[watched_count++] = strtoull(value, NULL, 0); continue; }
        if (IS("control") && open_control(value)) continue;
        if (IS("profile")) { profiling = !strcmp(value, "on"); continue; }
        fprintf(stderr, "count: can't do %s\n", argument);
        return -1;
    }
    if (!out) { fprintf(stderr, "count: where to? say out=FILE\n"); return -1; }
    total = (Counter){qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0};
    if (profiling) scores = qemu_plugin_scoreboard_new(SLOTS * sizeof(uint64_t));
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, on_translation);
    return 0;
}
