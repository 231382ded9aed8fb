/* Executes the instructions of AMX that the kernels use on processors which do not have them: each
 * raises a signal, whose handler does what the manual says and goes on behind it. See test_amx.py.
 *
 * Encodings and semantics: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static __thread struct config config;
static __thread int8_t tiles[TILES][ROWS][ROW_BYTES];
static struct sigaction before;
static long executed;

/* A register by its number in an instruction. */
static int64_t general(const ucontext_t *context, int number)
{
    static const int names[16] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    };
    return context->uc_mcontext.gregs[names[number]];
}

/* An instruction with a three-byte VEX prefix and an opcode of the map 0F38. */
struct instruction {
    int opcode, prefix, wide, third; /* third: the register that the prefix names */
    int mod, reg, rm;
    char *address; /* of the memory operand: base and displacement, and the index unless strided */
    int64_t stride;
    int length;
};

/* Whether there is such an instruction. */
static int decode(const ucontext_t *context, const uint8_t *code, struct instruction *out)
{
    const uint8_t *at = code + 5;

    if (code[0] != 0xC4 || (code[1] & 0x1F) != 2)
        return 0;
    out->wide = code[2] >> 7 | (code[2] >> 2 & 1); /* W or L, neither of which AMX has */
    out->third = ~code[2] >> 3 & 15;
    out->prefix = code[2] & 3;
    out->opcode = code[3];
    out->mod = code[4] >> 6;
    out->reg = (code[4] >> 3 & 7) | (code[1] & 0x80 ? 0 : 8);
    out->rm = (code[4] & 7) | (code[1] & 0x20 ? 0 : 8);
    out->address = NULL;
    out->stride = 0;
    if (out->mod != 3) {
        int base = out->rm, none = 0;

        if ((code[4] & 7) == 4) {
            uint8_t sib = *at++;
            int index = (sib >> 3 & 7) | (code[1] & 0x40 ? 0 : 8);

            base = (sib & 7) | (code[1] & 0x20 ? 0 : 8);
            none = out->mod == 0 && (sib & 7) == 5;
            if (index != 4)
                out->stride = general(context, index) * (1 << (sib >> 6));
        } else if (out->mod == 0 && (code[4] & 7) == 5) {
            return 0; /* relative to the instruction: kernels have no such operands */
        }
        out->address = none ? NULL : (char *)general(context, base);
        if (out->mod == 1) {
            out->address += (int8_t)*at++;
        } else if (out->mod == 2 || none) {
            int32_t distance;
            memcpy(&distance, at, sizeof distance);
            out->address += distance;
            at += sizeof distance;
        }
    }
    out->length = (int)(at - code);
    return !out->wide;
}

static void multiply(int sum, int left, int right)
{
    for (int m = 0; m < config.rows[sum]; m++)
        for (int k = 0; k < config.row_bytes[left] / 4; k++)
            for (int n = 0; n < config.row_bytes[sum] / 4; n++) {
                uint32_t total;
                memcpy(&total, &tiles[sum][m][4 * n], 4);
                for (int i = 0; i < 4; i++)
                    total += (uint32_t)(tiles[left][m][4 * k + i] * tiles[right][k][4 * n + i]);
                memcpy(&tiles[sum][m][4 * n], &total, 4);
            }
}

/* A register that is written: what lies outside its extents becomes zero. */
static int8_t *cleared(int tile)
{
    return memset(tiles[tile], 0, sizeof tiles[tile]);
}

/* Whether the instruction is known, and allowed as things are. */
static int execute(const struct instruction *i)
{
    enum { NONE, P66, PF3, PF2 };
    int memory = i->mod != 3, key = i->opcode << 4 | i->prefix << 1 | memory;

    if (key == (0x49 << 4 | NONE << 1 | 1)) { /* ldtilecfg */
        memcpy(&config, i->address + i->stride, sizeof config);
        memset(tiles, 0, sizeof tiles);
        return config.palette == 1 && config.start_row == 0;
    }
    if (config.palette != 1)
        return 0;
    if (i->reg >= TILES)
        return 0;
    switch (key) {
    case 0x49 << 4 | NONE << 1: /* tilerelease */
        memset(&config, 0, sizeof config);
        return 1;
    case 0x49 << 4 | PF2 << 1: /* tilezero */
        cleared(i->reg);
        return config.rows[i->reg] != 0;
    case 0x4B << 4 | PF2 << 1 | 1: /* tileloadd */
        cleared(i->reg);
        for (int r = 0; r < config.rows[i->reg]; r++)
            memcpy(tiles[i->reg][r], i->address + r * i->stride, config.row_bytes[i->reg]);
        return config.rows[i->reg] != 0;
    case 0x4B << 4 | PF3 << 1 | 1: /* tilestored */
        for (int r = 0; r < config.rows[i->reg]; r++)
            memcpy(i->address + r * i->stride, tiles[i->reg][r], config.row_bytes[i->reg]);
        return config.rows[i->reg] != 0;
    case 0x5E << 4 | PF2 << 1: /* tdpbssd */
        if (i->rm >= TILES || i->third >= TILES || i->reg == i->rm || i->reg == i->third)
            return 0;
        multiply(i->reg, i->rm, i->third);
        return 1;
    }
    return 0;
}

static void handle(int number, siginfo_t *info, void *given)
{
    ucontext_t *context = given;
    struct instruction instruction;
    greg_t *next = &context->uc_mcontext.gregs[REG_RIP];

    (void)number, (void)info;
    if (decode(context, (const uint8_t *)*next, &instruction) && execute(&instruction)) {
        *next += instruction.length;
        __atomic_add_fetch(&executed, 1, __ATOMIC_RELAXED);
    } else {
        sigaction(SIGILL, &before, NULL); /* which sees the same instruction again */
    }
}

int install(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    return sigaction(SIGILL, &action, &before);
}

int uninstall(void)
{
    return sigaction(SIGILL, &before, NULL);
}

/* Instructions executed so far. */
long count(void)
{
    return __atomic_load_n(&executed, __ATOMIC_RELAXED);
}
