/* Makes fork(2) fail with EAGAIN, once for each byte of the file that FORK_FAULTS names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

pid_t fork(void)
{
    const char *path = getenv("FORK_FAULTS");
    struct stat status;
    if (path && stat(path, &status) == 0 && status.st_size > 0 && truncate(path, status.st_size - 1) == 0) {
        errno = EAGAIN;
        return -1;
    }
    pid_t (*real)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    return real();
}
