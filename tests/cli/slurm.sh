#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Four shards of a tuning list through a real Slurm of one node, on loopback, with the job script
# that docs/cluster.md shows; then their caches are joined. Needs slurmctld, slurmd and munged
# (Debian: slurm-wlm, munge) and root, since slurmd starts jobs as other users.
set -u
for program in slurmctld slurmd munged sbatch; do
	command -v $program > /dev/null || PATH=$PATH:/usr/sbin
	command -v $program > /dev/null || {
		echo "SKIPPED: $program isn't installed"
		exit 77
	}
done
[ "$(id -u)" = 0 ] || {
	echo "SKIPPED: a Slurm of one's own needs root"
	exit 77
}
source=${KVJIT_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
dir=$(mktemp -d "${KVJIT_TMP:-/tmp}/slurm.XXXXXX")
node=$(hostname -s)
port=$((20000 + $$ % 20000))

stop() {
	for pid in slurmd ctld munged; do
		[ -f "$dir/$pid.pid" ] && kill "$(cat "$dir/$pid.pid")" 2> /dev/null
	done
	sleep 0.3
	rm -rf "$dir"
}
trap stop EXIT

fail() {
	echo "$1"
	tail -n 20 "$dir"/*.log "$dir"/job-* "$dir"/out/*.jsonl 2> /dev/null
	exit 1
}

# until SECONDS COMMAND...: whether it succeeded in time
until_true() {
	left=$(($1 * 5))
	shift
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || return 1
		sleep 0.2
	done
}

mkdir -m 755 "$dir/spool" "$dir/state"
mkdir -m 700 "$dir/munge"
(umask 077 && head -c 1024 /dev/urandom > "$dir/munge/key")
munged --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" \
	--pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge/seed" ||
	fail "munged doesn't start"
cat > "$dir/slurm.conf" << EOF
ClusterName=kvjit
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/ctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/ctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
printf 'CgroupPlugin=cgroup/v1\nIgnoreSystemd=yes\n' > "$dir/cgroup.conf"
SLURM_CONF=$dir/slurm.conf
export SLURM_CONF
slurmctld -f "$SLURM_CONF" || fail "slurmctld doesn't start"
until_true 10 sinfo > /dev/null 2>&1 || fail "slurmctld doesn't answer"
slurmd -f "$SLURM_CONF" -N "$node" || fail "slurmd doesn't start"
node_is_up() { sinfo -h -o %T | grep -Eq 'idle|mixed'; }
until_true 20 node_is_up || fail "the node doesn't come up"

# Small problems: each task has seconds.
cat > "$dir/problems.txt" << 'EOF'
# one problem a line
attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=1024
attn q=bf16 kv=e4m3 heads=4:1 dim=64 page=64 causal batch=1 ctx=1024
attn q=bf16 kv=bf16 heads=4:1 dim=64 page=64 causal batch=1 ctx=1024
attn q=bf16 kv=int8 heads=4:1 dim=64 page=64 causal batch=1 ctx=1024
attn q=bf16 kv=e5m2 heads=2:1 dim=64 page=64 causal batch=1 ctx=512
write in=bf16 kv=int8/token-head heads=2 dim=64 page=64 ctx=512
EOF
mkdir -m 700 "$dir/out"
export KVJIT
# sbatch --wait would ask after 2, 10 and 42 seconds.
job=$(BUDGET=2 sbatch --parsable --exclusive=user --output="$dir/job-%a" --chdir="$dir" --array=0-3 \
	"$source/examples/cluster/tune.sbatch" "$dir/problems.txt" "$dir/out") || fail "the job isn't taken"
job_is_over() {
	state=$(scontrol -o show job "$job") &&
		! echo "$state" | grep -Eqv 'JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY) '
}
until_true 100 job_is_over || fail "the tasks of the array don't end"
[ "$(echo "$state" | grep -c 'JobState=COMPLETED .*ExitCode=0:0 ')" = 4 ] || fail "a task of the array failed"
for shard in 0 1 2 3; do
	[ -f "$dir/out/shard-$shard.jsonl" ] || fail "shard $shard left nothing"
done

# Joined: each problem has its schedule, whatever the order of joining.
"$KVJIT" cache merge --cache "$dir/all" "$dir"/out/shard-0 "$dir"/out/shard-1 \
	"$dir"/out/shard-2 "$dir"/out/shard-3 > /dev/null || fail "merge failed"
"$KVJIT" cache merge --cache "$dir/back" "$dir"/out/shard-3 "$dir"/out/shard-2 \
	"$dir"/out/shard-1 "$dir"/out/shard-0 "$dir"/out/shard-3 > /dev/null || fail "merge failed"
"$KVJIT" cache export --cache "$dir/all" -o "$dir/all.txt" || fail "export failed"
"$KVJIT" cache export --cache "$dir/back" -o "$dir/back.txt" || fail "export failed"
cmp "$dir/all.txt" "$dir/back.txt" || fail "the order of joining matters"
found=$(grep -c ' :: ' "$dir/all.txt")
[ "$found" = 6 ] || fail "6 problems were tuned, $found schedules came out"
echo "6 schedules from 4 shards"
