#!/usr/bin/env bash
# Process 1 of a switch of the lab. It gives the switch what a machine of its own would have (root folder, /run, /dev,
# /sys, bpffs, host name), then keeps FRR's watchfrr and sshd running. It runs in mount, pid, uts and ipc namespaces of its
# own, which unshare(1) has made: when it dies, every process of the switch dies and every mount is gone. A switch of a VLAN
# site runs Open vSwitch, too.
#
#   switch_init.sh NAME IMAGE WORKDIR SSH_ADDRESS
#
# WORKDIR holds what outlives a restart of the switch, as a disk would: etc-frr/, ssh/, log/; and etc-openvswitch/ if it
# switches VLANs.
set -euo pipefail

power_on() {
    local name=$1 image=$2 work=$3 folder device
    hostname "$name"
    mount --bind "$image" "$image"
    mount -t proc proc "$image/proc"
    mount -t sysfs sysfs "$image/sys"  # of the switch's network namespace, in which this runs
    mount -t bpf bpf "$image/sys/fs/bpf"
    for folder in dev run tmp root var/tmp var/lib/frr; do
        mount -t tmpfs -o mode=755 tmpfs "$image/$folder"
    done
    mount --bind "$work/etc-frr" "$image/etc/frr"
    if [[ -d $work/etc-openvswitch ]]; then mount --bind "$work/etc-openvswitch" "$image/etc/openvswitch"; fi
    mount --bind "$work/ssh" "$image/etc/ssh"
    mount --bind "$work/log" "$image/var/log"
    mount -o remount,bind,ro "$image"

    mkdir -p "$image"/dev/pts "$image"/dev/shm "$image"/run/netns "$image"/run/sshd "$image"/run/frr "$image"/var/tmp/frr
    mknod -m 666 "$image/dev/null" c 1 3
    mknod -m 666 "$image/dev/zero" c 1 5
    mknod -m 666 "$image/dev/random" c 1 8
    mknod -m 666 "$image/dev/urandom" c 1 9
    mknod -m 666 "$image/dev/tty" c 5 0
    mkdir "$image/dev/net"
    mknod -m 600 "$image/dev/net/tun" c 10 200  # Open vSwitch, in user space, has its internal ports by it
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$image/dev/pts"
    ln -s pts/ptmx "$image/dev/ptmx"
    ln -s /proc/self/fd "$image/dev/fd"
    chmod 1777 "$image/dev/shm" "$image/tmp" "$image/var/tmp"
    chown 101:101 "$image/run/frr" "$image/var/tmp/frr" "$image/var/lib/frr"

    cp "$0" "$image/run/init"
    cd "$image"
    pivot_root . .   # the machine's own root now lies over ours; detach it, or the switch would pin its mounts
    umount -l .
    exec chroot . /bin/bash /run/init inside "${@:4}"
}

forget_links() {  # those that weft made; a kernel that boots has none, but our cables' namespace outlives a power cut
    local path name
    for path in /sys/class/net/*; do
        name=${path##*/}
        [[ ! -e $path/ifalias || $(<"$path/ifalias") != weft ]] || ip link del "$name" 2>/dev/null || true
    done
}

keep() {  # run a program; when it ends, run it again
    while :; do "$@" || true; sleep 0.2; done
}

switch_vlans() {  # as the package's service does, without its dependence on the machine's init
    local database=/etc/openvswitch/conf.db socket=/run/openvswitch/db.sock log=/var/log/openvswitch
    mkdir -p /run/openvswitch "$log"
    rm -f "/etc/openvswitch/.conf.db.~lock~"
    [[ -e $database ]] || ovsdb-tool create "$database" /usr/share/openvswitch/vswitch.ovsschema
    keep ovsdb-server "$database" "--remote=punix:$socket" --pidfile --overwrite-pidfile -vsyslog:off \
        >>"$log/ovsdb-server.log" 2>&1 &
    until ovs-vsctl --no-wait --timeout=2 init 2>/dev/null; do sleep 0.05; done
    keep ovs-vswitchd "unix:$socket" --pidfile --overwrite-pidfile -vsyslog:off >>"$log/ovs-vswitchd.log" 2>&1 &
}

inside() {
    local address=$1
    export PATH=/usr/sbin:/usr/bin
    ip link set lo up
    forget_links
    if ip link add weft-probe type vrf table 4000000000 2>/dev/null; then
        ip link del weft-probe
    else
        export frr_global_options="-w"  # no VRF devices in this kernel: FRR's VRFs are network namespaces
    fi
    keep /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config -o "ListenAddress=$address" >>/var/log/sshd.log 2>&1 &
    if [[ -e /etc/openvswitch/switching ]]; then switch_vlans & fi
    /usr/lib/frr/watchfrr.sh start all >>/var/log/frr/watchfrr.log 2>&1
    keep /usr/lib/frr/watchfrr --min-restart-interval 1 --max-restart-interval 5 --interval 1 \
        zebra mgmtd bgpd staticd >>/var/log/frr/watchfrr.log 2>&1 &
    trap 'exit 0' TERM
    while :; do wait -n || true; done  # bash, as process 1, also takes in the orphans of the switch
}

if [[ $1 == inside ]]; then inside "${@:2}"; else power_on "$@"; fi
