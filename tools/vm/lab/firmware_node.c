// LD_PRELOAD: gives vhci_hcd.0 the firmware node that libcamera's uvcvideo handler makes a camera's id of
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
static const char *m(const char *p) { return p && strstr(p, "/vhci_hcd.0/firmware_node") ? "/tmp/lab/firmware_node" : p; }
#define N(f) static __typeof__(&f) n; if (!n) n = dlsym(RTLD_NEXT, #f)
FILE *fopen(const char *p, const char *o) { N(fopen); return n(m(p), o); }
FILE *fopen64(const char *p, const char *o) { N(fopen64); return n(m(p), o); }
int stat(const char *p, struct stat *s) { N(stat); return n(m(p), s); }
int stat64(const char *p, struct stat64 *s) { N(stat64); return n(m(p), s); }
int open(const char *p, int f, ...) { N(open); va_list a; va_start(a, f); int mode = va_arg(a, int); va_end(a); return n(m(p), f, mode); }
int open64(const char *p, int f, ...) { N(open64); va_list a; va_start(a, f); int mode = va_arg(a, int); va_end(a); return n(m(p), f, mode); }
