/* Lets a library see an AVX2 machine where there is more: for fair comparisons only.
 *
 * Each `cpuid` instruction of the library is replaced by `ud2`, which has the same length. The
 * signal handler answers in its place and leaves out what came after AVX2 and FMA. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { MOST = 512 };
static const uint8_t *places[MOST];
static int known, answers[MOST];

/* Bits of leaf 7, by register: AVX-512 F DQ IFMA PF ER CD BW VL; VBMI VBMI2 VNNI BITALG POPCNTDQ;
 * 4VNNIW 4FMAPS VP2INTERSECT AMX FP16. Leaf 7.1: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA. */
static const uint32_t EBX7 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28
                             | 1u << 30 | 1u << 31;
static const uint32_t ECX7 = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
static const uint32_t EDX7 = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;
static const uint32_t EAX71 = 1u << 4 | 1u << 5 | 1u << 21 | 1u << 23;
static const uint32_t EDX71 = 1u << 4 | 1u << 5 | 1u << 10 | 1u << 19;

static void answer(int signal_number, siginfo_t *info, void *context) {
  (void)info;
  greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
  for (int i = 0; i < known; i++) {
    if (places[i] != (const uint8_t *)r[REG_RIP]) continue;
    uint32_t leaf = (uint32_t)r[REG_RAX], part = (uint32_t)r[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) { b &= ~EBX7; c &= ~ECX7; d &= ~EDX7; }
    if (leaf == 7 && part == 1) { a &= ~EAX71; d &= ~EDX71; }
    r[REG_RAX] = a; r[REG_RBX] = b; r[REG_RCX] = c; r[REG_RDX] = d;
    r[REG_RIP] += 2;
    answers[i]++;
    return;
  }
  signal(signal_number, SIG_DFL);
}

/* Replace the instruction at `place`; 0 when that is done. */
int hide(uint8_t *place) {
  if (known == MOST || place[0] != 0x0f || place[1] != 0xa2) return -1;
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO};
  if (sigaction(SIGILL, &action, 0)) return -2;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uint8_t *start = (uint8_t *)((uintptr_t)place & ~(page - 1));
  if (mprotect(start, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC)) return -3;
  places[known++] = place;
  place[1] = 0x0b;
  return mprotect(start, 2 * page, PROT_READ | PROT_EXEC);
}

int count(void) { return known; }

/* How often the instruction with this number has been answered. */
int answered(int number) { return answers[number]; }
