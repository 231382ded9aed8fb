/* Runs code of another processor on request. Requests come from standard input, four 64-bit
   words each; see emulated.py. */

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

enum { MAP, FILL, CALL, START, JOIN, SEND, UNMAP };

typedef void function(void *, int64_t);

struct request {
    int64_t kind;
    char *address;
    int64_t size;
    int64_t more;
};

/* What compiled code calls through pointers; the symbols say where they are. */
__attribute__((used)) static void *const offered[] = {
    clock_gettime, sched_yield, pthread_mutex_lock, pthread_mutex_unlock, pthread_cond_signal,
    pthread_cond_wait, getauxval,
};

static pthread_t threads[64];
static struct request started[64];

static void demand(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static void *start(void *given)
{
    struct request *request = given;
    ((function *)request->address)((void *)request->size, request->more);
    return NULL;
}

int main(void)
{
    struct request r;
    int count = 0;

    while (fread(&r, sizeof r, 1, stdin) == 1) {
        switch (r.kind) {
        case MAP:
            demand(mmap(r.address, r.size, PROT_READ | PROT_WRITE | (r.more ? PROT_EXEC : 0),
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == r.address, "mmap");
            break;
        case FILL:
            demand(fread(r.address, 1, r.size, stdin) == (size_t)r.size, "fread");
            __builtin___clear_cache(r.address, r.address + r.size);
            break;
        case CALL: /* function, arguments, tiles */
            for (int64_t tile = 0; tile < r.more; tile++)
                ((function *)r.address)((void *)r.size, tile);
            break;
        case START: /* function, first argument, second argument */
            started[count] = r;
            demand(pthread_create(&threads[count], NULL, start, &started[count]) == 0, "thread");
            count++;
            break;
        case JOIN:
            while (count > 0)
                pthread_join(threads[--count], NULL);
            break;
        case SEND:
            fwrite(r.address, 1, r.size, stdout);
            fflush(stdout);
            break;
        case UNMAP:
            demand(munmap(r.address, r.size) == 0, "munmap");
            break;
        }
    }
    return 0;
}
