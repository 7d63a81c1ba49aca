"""System calls that a Blender process makes, by name, with their numbers.

Columns: name, number on x86-64, number on aarch64 (`-`: not there). From the kernel's own headers: asm/unistd_64.h
and asm-generic/unistd.h. What is not listed here is refused (see seccomp.py).
"""

TABLE = """
# reading and writing what is open
read                        0    63
write                       1    64
readv                      19    65
writev                     20    66
pread64                    17    67
pwrite64                   18    68
preadv                    295    69
pwritev                   296    70
preadv2                   327   286
pwritev2                  328   287
close                       3    57
close_range               436   436
lseek                       8    62
sendfile                   40    71
copy_file_range           326   285
splice                    275    76
# files by name: Landlock decides which
open                        2     -
openat                    257    56
creat                      85     -
stat                        4     -
fstat                       5    80
lstat                       6     -
newfstatat                262    79
statx                     332   291
access                     21     -
faccessat                 269    48
faccessat2                439   439
readlink                   89     -
readlinkat                267    78
getdents                   78     -
getdents64                217    61
getcwd                     79    17
chdir                      80    49
fchdir                     81    50
statfs                    137    43
fstatfs                   138    44
getxattr                  191     8
lgetxattr                 192     9
fgetxattr                 193    10
listxattr                 194    11
llistxattr                195    12
flistxattr                196    13
# changing folders and files: Landlock decides which; no links, no device nodes
mkdir                      83     -
mkdirat                   258    34
rmdir                      84     -
unlink                     87     -
unlinkat                  263    35
rename                     82     -
renameat                  264    38
renameat2                 316   276
truncate                   76    45
ftruncate                  77    46
fallocate                 285    47
fsync                      74    82
fdatasync                  75    83
sync_file_range           277    84
fadvise64                 221   223
readahead                 187   213
umask                      95   166
# file descriptors and waiting
dup                        32    23
dup2                       33     -
dup3                      292    24
fcntl                      72    25
ioctl                      16    29
pipe                       22     -
pipe2                     293    59
poll                        7     -
ppoll                     271    73
select                     23     -
pselect6                  270    72
epoll_create              213     -
epoll_create1             291    20
epoll_ctl                 233    21
epoll_wait                232     -
epoll_pwait               281    22
epoll_pwait2              441   441
eventfd                   284     -
eventfd2                  290    19
timerfd_create            283    85
timerfd_settime           286    86
timerfd_gettime           287    87
# memory
mmap                        9   222
munmap                     11   215
mprotect                   10   226
mremap                     25   216
madvise                    28   233
brk                        12   214
mincore                    27   232
mlock                     149   228
mlock2                    325   284
munlock                   150   229
mlockall                  151   230
munlockall                152   231
msync                      26   227
membarrier                324   283
mbind                     237   235
get_mempolicy             239   236
set_mempolicy             238   237
pkey_alloc                330   289
pkey_free                 331   290
pkey_mprotect             329   288
memfd_create              319   279
# threads, and what the process may know of itself
clone                      56   220
exit                       60    93
exit_group                231    94
futex                     202    98
futex_waitv               449   449
set_robust_list           273    99
set_tid_address           218    96
rseq                      334   293
gettid                    186   178
getpid                     39   172
getppid                   110   173
getpgrp                   111     -
getpgid                   121   155
getsid                    124   156
getuid                    102   174
geteuid                   107   175
getgid                    104   176
getegid                   108   177
getresuid                 118   148
getresgid                 120   150
getgroups                 115   158
arch_prctl                158     -
prctl                     157   167
capget                    125    90
wait4                      61   260
waitid                    247    95
# scheduling of its own threads
sched_yield                24   124
sched_getaffinity         204   123
sched_setaffinity         203   122
sched_getscheduler        145   120
sched_getparam            143   121
sched_getattr             315   275
sched_get_priority_max    146   125
sched_get_priority_min    147   126
sched_rr_get_interval     148   127
getpriority               140   141
getcpu                    309   168
# limits and facts
prlimit64                 302   261
getrlimit                  97   163
setrlimit                 160   164
getrusage                  98   165
times                     100   153
sysinfo                    99   179
uname                      63   160
getrandom                 318   278
# clocks and timers
clock_gettime             228   113
clock_getres              229   114
clock_nanosleep           230   115
gettimeofday               96   169
time                      201     -
nanosleep                  35   101
getitimer                  36   102
setitimer                  38   103
alarm                      37     -
timer_create              222   107
timer_settime             223   110
timer_gettime             224   108
timer_getoverrun          225   109
timer_delete              226   111
# signals to itself
rt_sigaction               13   134
rt_sigprocmask             14   135
rt_sigreturn               15   139
rt_sigtimedwait           128   137
rt_sigpending             127   136
rt_sigsuspend             130   133
sigaltstack               131   132
pause                      34     -
restart_syscall           219   128
kill                       62   129
tgkill                    234   131
# sockets, for GPU drivers only
socket                     41   198
socketpair                 53   199
connect                    42   203
sendto                     44   206
recvfrom                   45   207
sendmsg                    46   211
recvmsg                    47   212
recvmmsg                  299   243
sendmmsg                  307   269
shutdown                   48   210
getsockopt                 55   209
setsockopt                 54   208
getsockname                51   204
getpeername                52   205
bind                       49   200
listen                     50   201
accept                     43   202
accept4                   288   242
# what else GPU drivers ask for: locks of their caches, priorities of their threads, whether two descriptors are one
flock                      73    32
kcmp                      312   272
setpriority               141   140
sched_setscheduler        144   119
sched_setparam            142   118
sched_setattr             314   274
# refused as unknown, so that the C library takes the older call whose arguments a filter can see
clone3                    435   435
openat2                   437   437
"""

NEWEST = 462  # the highest number that this table's author has looked at, the same on both architectures


def numbers(machine: str) -> dict[str, int]:
    """Name → number of every listed call that `machine` (x86_64 or aarch64) has. Raises KeyError for any other."""
    column = {"x86_64": 1, "aarch64": 2}[machine]
    rows = (line.split() for line in TABLE.splitlines() if line and not line.startswith("#"))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
