#!/bin/bash
# One Ceph on loopback, its S3 at http://127.0.0.1:7480, keys test/test: a store that people run in production.
#
#   ceph.sh start DIR     a monitor, an object store daemon in memory and a gateway, all their files under DIR
#   ceph.sh stop DIR      ends those three processes and no others
#
# Debian packages: radosgw ceph-mon ceph-osd ceph-common uuid-runtime
set -euo pipefail
what=${1:?start or stop} dir=$(realpath "${2:?directory}")
export CEPH_CONF=$dir/ceph.conf

stop() {
  for name in client.rgw osd.0 mon.a; do
    [ -f "$dir/$name.pid" ] || continue
    pid=$(<"$dir/$name.pid")
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -9 "$pid" 2>/dev/null || true
  done
}

configure() {
  cat >"$CEPH_CONF" <<CONF
[global]
fsid = $1
mon_host = [v2:127.0.0.1:3310/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = $dir
admin_socket = $dir/\$name.asok
pid_file = $dir/\$name.pid
log_file = $dir/\$name.log
mon_data = $dir/mon
osd_data = $dir/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
ms_mon_client_mode = crc
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:7480 tcp_nodelay=1
rgw_dns_name = localhost
CONF
}

start() {
  for tool in ceph ceph-mon ceph-osd radosgw radosgw-admin monmaptool uuidgen curl; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed: see the head of this file" >&2; exit 1; }
  done
  mkdir -p "$dir/mon" "$dir/osd"
  local fsid osd
  fsid=$(uuidgen) osd=$(uuidgen)
  configure "$fsid"
  monmaptool --create --addv a '[v2:127.0.0.1:3310/0]' --fsid "$fsid" "$dir/monmap" >/dev/null
  ceph-mon -i a --mkfs --monmap "$dir/monmap"
  ceph-mon -i a --public-addrv '[v2:127.0.0.1:3310/0]'
  ceph --connect-timeout 60 osd new "$osd" >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd" --no-mon-config 2>/dev/null
  ceph-osd -i 0
  radosgw -n client.rgw
  for _ in $(seq 240); do
    curl -s -o "$dir/answer" --max-time 2 http://127.0.0.1:7480/ && break
    sleep 0.5
  done
  [ -s "$dir/answer" ] || { echo "the gateway does not answer: see $dir/*.log" >&2; exit 1; }
  radosgw-admin user create --uid=test --display-name=test --access-key=test --secret-key=test >/dev/null
}

case $what in
  start) trap 'stop' ERR; start ;;
  stop) stop ;;
  *) echo "start or stop, not $what" >&2; exit 1 ;;
esac
