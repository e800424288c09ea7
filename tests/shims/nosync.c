/* LD_PRELOAD shim: every sync says it is done and does nothing. The control of the
 * power loss test: with it, mail must be lost, or the test proves nothing. */
int fsync(int fd) { return fd < 0 ? -1 : 0; }
int fdatasync(int fd) { return fd < 0 ? -1 : 0; }
int msync(void *at, unsigned long size, int flags) {
    (void)at, (void)size, (void)flags;
    return 0;
}
int sync_file_range(int fd, long long at, long long size, unsigned flags) {
    (void)fd, (void)at, (void)size, (void)flags;
    return 0;
}
