/* LD_PRELOAD shim: a user and a group that do not exist here are another that does.
 * Exim has the names of its user and group compiled in and does not start without.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#define WANTED "Debian-exim"
#define GIVEN "mail"

static const char *known(const char *name)
{
    return strcmp(name, WANTED) == 0 ? GIVEN : name;
}

struct passwd *getpwnam(const char *name)
{
    struct passwd *(*next)(const char *);
    *(void **)&next = dlsym(RTLD_NEXT, "getpwnam");
    return next(known(name));
}

struct group *getgrnam(const char *name)
{
    struct group *(*next)(const char *);
    *(void **)&next = dlsym(RTLD_NEXT, "getgrnam");
    return next(known(name));
}
