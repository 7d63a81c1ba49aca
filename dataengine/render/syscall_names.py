"""Names of the system calls that no Blender process may make, so that a count of them can be read by people.

Each with its number on x86-64 and on aarch64 (`-`: not there), from the kernel's own headers as in syscalls.py.
"""

from dataengine.render.syscalls import numbers

OTHERS = """
_sysctl 156 -, acct 163 89, add_key 248 217, adjtimex 159 171, afs_syscall 183 -, bpf 321 280, cachestat 451 451,
capset 126 91, chmod 90 -, chown 92 -, chroot 161 51, clock_adjtime 305 266, clock_settime 227 112,
create_module 174 -, delete_module 176 106, epoll_ctl_old 214 -, epoll_wait_old 215 -, execve 59 221,
execveat 322 281, fanotify_init 300 262, fanotify_mark 301 263, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452,
fchown 93 55, fchownat 260 54, finit_module 313 273, fork 57 -, fremovexattr 199 16, fsconfig 431 431,
fsetxattr 190 7, fsmount 432 432, fsopen 430 430, fspick 433 433, futex_requeue 456 456, futex_wait 455 455,
futex_wake 454 454, futimesat 261 -, get_kernel_syms 177 -, get_robust_list 274 100, get_thread_area 211 -,
getpmsg 181 -, init_module 175 105, inotify_add_watch 254 27, inotify_init 253 -, inotify_init1 294 26,
inotify_rm_watch 255 28, io_cancel 210 3, io_destroy 207 1, io_getevents 208 4, io_pgetevents 333 292,
io_setup 206 0, io_submit 209 2, io_uring_enter 426 426, io_uring_register 427 427, io_uring_setup 425 425,
ioperm 173 -, iopl 172 -, ioprio_get 252 31, ioprio_set 251 30, kexec_file_load 320 294, kexec_load 246 104,
keyctl 250 219, landlock_add_rule 445 445, landlock_create_ruleset 444 444, landlock_restrict_self 446 446,
lchown 94 -, link 86 -, linkat 265 37, listmount 458 458, lookup_dcookie 212 18, lremovexattr 198 15,
lsetxattr 189 6, lsm_get_self_attr 459 459, lsm_list_modules 461 461, lsm_set_self_attr 460 460,
map_shadow_stack 453 453, memfd_secret 447 447, migrate_pages 256 238, mknod 133 -, mknodat 259 33, modify_ldt 154 -,
mount 165 40, mount_setattr 442 442, move_mount 429 429, move_pages 279 239, mq_getsetattr 245 185,
mq_notify 244 184, mq_open 240 180, mq_timedreceive 243 183, mq_timedsend 242 182, mq_unlink 241 181, mseal 462 462,
msgctl 71 187, msgget 68 186, msgrcv 70 188, msgsnd 69 189, name_to_handle_at 303 264, nfsservctl 180 42,
open_by_handle_at 304 265, open_tree 428 428, perf_event_open 298 241, personality 135 92, pidfd_getfd 438 438,
pidfd_open 434 434, pidfd_send_signal 424 424, pivot_root 155 41, process_madvise 440 440, process_mrelease 448 448,
process_vm_readv 310 270, process_vm_writev 311 271, ptrace 101 117, putpmsg 182 -, query_module 178 -,
quotactl 179 60, quotactl_fd 443 443, reboot 169 142, remap_file_pages 216 234, removexattr 197 14,
request_key 249 218, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, seccomp 317 277, security 185 -,
semctl 66 191, semget 64 190, semop 65 193, semtimedop 220 192, set_mempolicy_home_node 450 450,
set_thread_area 205 -, setdomainname 171 162, setfsgid 123 152, setfsuid 122 151, setgid 106 144, setgroups 116 159,
sethostname 170 161, setns 308 268, setpgid 109 154, setregid 114 143, setresgid 119 149, setresuid 117 147,
setreuid 113 145, setsid 112 157, settimeofday 164 170, setuid 105 146, setxattr 188 5, shmat 30 196, shmctl 31 195,
shmdt 67 197, shmget 29 194, signalfd 282 -, signalfd4 289 74, statmount 457 457, swapoff 168 225, swapon 167 224,
symlink 88 -, symlinkat 266 36, sync 162 81, syncfs 306 267, sysfs 139 -, syslog 103 116, tee 276 77, tkill 200 130,
tuxcall 184 -, umount2 166 39, unshare 272 97, uselib 134 -, userfaultfd 323 282, ustat 136 -, utime 132 -,
utimensat 280 88, utimes 235 -, vfork 58 -, vhangup 153 58, vmsplice 278 75, vserver 236 -
"""


def names(machine: str) -> dict[int, str]:
    """Number → name of every call of `machine` (x86_64 or aarch64). Raises KeyError for any other."""
    column = {"x86_64": 1, "aarch64": 2}[machine]
    others = (entry.split() for entry in OTHERS.replace("\n", " ").split(","))
    refused = {int(words[column]): words[0] for words in others if words[column] != "-"}
    return refused | {number: name for name, number in numbers(machine).items()}
