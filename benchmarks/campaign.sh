#!/usr/bin/env bash
# Measures what waits for a GPU, in order of value, and ends within nine minutes: whole runs of the
# deep systems in float32 (two side by side, seed 0 first), the speed run, the speed beside PyTorch,
# and whether the GPU computes what a CPU computes. The package need not be installed.
#
#   JAXCIFAR_DATA=DIR benchmarks/campaign.sh [SECONDS]    # SECONDS: all that it may take (540)
#   benchmarks/campaign.sh --rehearse [SECONDS]           # runs each kind of stage on a CPU, tiny
#
#   PYTHON      the interpreter (python3)
#   WORK        the folder that it works in (campaign or rehearsal, in the checkout)
#   OUT         the folder that receives the result, campaign.tgz and nothing else (WORK-out)
#   ARCHIVE_MB  the megabytes that campaign.tgz stays below (15)
#
# The archive is replaced every ten seconds. Unpacked in a checkout, it adds files to results/ and
# replaces those of the same name, and adds to checkpoints/ each run's latest step if that fits. The
# same command with the same WORK continues: it repeats no stage that ended well. The exit status is
# 0 if all stages ended well.
set -uo pipefail
shopt -s nullglob

root="$(cd "$(dirname "$0")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
seconds=540 grace=15 # of the seconds, the last ones, in which the stages save
marks=done others=rehearsed work=campaign gpu=--gpu
lane_a=(adaptive:000:0 adaptive_softmax:001:0 adaptive:000:1) # RUN:CLAIM:SEED
lane_b=(adaptive_prelu:004:0 resnet20:003-resnet20:1 adaptive_prelu:004:1)
sides=94:bfloat16 seeds=2 systems=simple_cnn,adaptive,resnet20 config=adaptive.py
limit="" expected=0 budget=() thin=() few=() # what makes a rehearsal small
if [ "${1:-}" = --rehearse ]; then
  shift
  export JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=""
  marks=rehearsed others=done work=rehearsal gpu=""
  lane_a=(adaptive:000:0 adaptive:000:1) lane_b=(resnet20:003-resnet20:0)
  budget=(--budget_minutes=0) # a rehearsal begins no whole run
  sides=90 seeds=1 systems=simple_cnn config=simple_cnn.py:batchnorm
  thin=(--config.data.source=synthetic --config.data.train_examples=256 --config.batch_size=128
    --config.model.widths="(8,8,8)")
  few=(--examples=256 --repeats=1 --source=synthetic)
fi
work="$(realpath -m "${WORK:-$root/$work}")"
out="$(realpath -m "${OUT:-$work-out}")"

refuse() {
  echo "error: $1" >&2
  exit 2
}
case "${1:-}" in
  *[!0-9]*) refuse "SECONDS is $1; expected a whole number, after --rehearse if that is given" ;;
  ?*) seconds=$((10#$1)) ;;
esac
[[ "${ARCHIVE_MB:=15}" =~ ^[0-9]+$ ]] || refuse "ARCHIVE_MB is $ARCHIVE_MB; expected a whole number"
[[ "$work/" != "$out/"* ]] || refuse "WORK is $work, which is in OUT; set another WORK"
[ ! -e "$work/$others" ] || refuse "$work holds the other kind of campaign; set another WORK"
python="$(type -P "${PYTHON:-python3}")" || refuse "PYTHON is ${PYTHON:-}; expected an interpreter"
python="$(cd "$(dirname "$python")" && pwd)/${python##*/}"
if [ $marks = done ]; then
  [ -d "${JAXCIFAR_DATA:-}" ] ||
    refuse "JAXCIFAR_DATA is '${JAXCIFAR_DATA:-}'; expected the folder of CIFAR-10 (see README.md)"
  export JAXCIFAR_DATA="$(realpath "$JAXCIFAR_DATA")"
fi
torch="$("$python" "$root/benchmarks/ready.py" $gpu)" || exit 2

mkdir -p "$work"/{logs,results,$marks} "$out" && cd "$work" || exit 2
rm -f failed
printf '| stage | how it ended | seconds |\n|---|---|---|\n' >stages.md

archive() { # replaces the archive with one of all that is there now
  local runs=(checkpoints/*/* lane_?/checkpoints/*)
  local files=(stages.md logs results lane_?/runs)
  files+=({checkpoints/*/*,lane_?/checkpoints/*}/{config.json,metrics.jsonl})
  local steps=() run size step epochs sum fits
  sum="$(du -cb "${files[@]}" | tail -n 1 | cut -f 1)"
  printf '| run | epochs | latest step | bytes | in the archive |\n|---|---|---|---|---|\n' >runs.md
  while read -r size run step; do
    fits="no, it does not fit"
    if [ $((sum + size)) -lt "${ARCHIVE_MB}000000" ]; then
      sum=$((sum + size)) fits=yes steps+=("$run/steps/$step")
    fi
    epochs="$(cat "$run/metrics.jsonl" 2>/dev/null | wc -l)"
    echo "| ${run##*/} | $epochs | $step | $size | $fits |" >>runs.md
  done < <(for run in "${runs[@]}"; do # the name of an unfinished step is not a number
    step="$(ls "$run/steps" 2>/dev/null | grep -xE '[0-9]+' | sort -n | tail -n 1)"
    [ -z "$step" ] || echo "$(du -sb "$run/steps/$step" | cut -f 1) $run $step"
  done | sort -n)
  # tar reads the metrics after the steps were chosen, so no step is ahead of its metrics
  tar -czf "$out/.campaign.tgz" --ignore-failed-read \
    --transform='s,^lane_./checkpoints/,checkpoints/reproduce/,;s,^lane_./,results/,' \
    "${steps[@]}" runs.md "${files[@]}" 2>/dev/null
  [ $? -gt 1 ] || mv -f "$out/.campaign.tgz" "$out/campaign.tgz" # 1: a file changed meanwhile
}

stop() { # waits until the stages have saved
  trap '' INT TERM HUP
  kill -TERM $(jobs -p) 2>/dev/null
  wait
  archive
  echo "stopped; run the same command to continue" >&2
  exit 130
}
trap stop INT TERM HUP

row() { # NAME END SECONDS
  echo "| $1 | $2 | $3 |" >>stages.md
  echo "$1: $2" >&2
}

stage() { # NAME LEAST COMMAND…: runs the command if LEAST seconds are left
  local name="$1" least="$2" key="${1// /-}" began=$SECONDS code end took
  local left=$((seconds - grace - SECONDS))
  shift 2
  if [ -e "$marks/$key" ]; then
    row "$name" "done before" "$(<"$marks/$key")"
    return
  elif [ $left -lt "$least" ]; then
    touch failed
    row "$name" "not begun: it needs $least seconds, $((left > 0 ? left : 0)) are left" 0
    return
  fi
  echo "$name …" >&2
  # in the foreground it signals once: a second signal would end a run unsaved
  timeout --foreground --kill-after=$((grace - 3)) $((${limit:-left} < left ? limit : left)) "$@" \
    >>"logs/$key.log" 2>&1 </dev/null &
  wait $!
  code=$? took=$((SECONDS - began))
  case $code in
    0) end="done" ;;
    124) end="stopped at its limit" ;;
    137) end="killed: it did not end in the $((grace - 3)) seconds after its limit" ;;
    *) end="failed with status $code: $(tail -n 1 "logs/$key.log")" ;;
  esac
  row "$name" "$end" $took
  if [ $code = "${expected:-0}" ]; then echo $took >"$marks/$key"; else touch failed; fi
}

deep() { # LANE RUN:CLAIM:SEED…: whole runs; each lane has its own folder of records
  local each run claim seed least
  export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-.42}"
  for each in "${@:2}"; do
    IFS=: read -r run claim seed <<<"$each"
    # a run leaves a record only if it ends: it needs the seconds that seed 0 took
    least="$(cat "$marks/$run-seed-0" 2>/dev/null || echo 20)"
    stage "$run seed $seed" "$least" "$python" -m jaxcifar.reproduce --claims="$claim" \
      --seeds=$((seed + 1)) --shard="$seed/$((seed + 1))" --out="$1" "${budget[@]}"
  done
  if [ $marks-$1 = rehearsed-lane_a ]; then
    small "small run" 2
    limit=$(($(cat "$marks/small-run" || echo 30) + 10)) expected=124 small "stopped run" 100000
  fi
}

small() { # NAME EPOCHS: trains a small form of a deep system, in a rehearsal
  stage "$1" 1 "$python" -m jaxcifar.train --config="$root/configs/adaptive_prelu.py" \
    --workdir="checkpoints/rehearsal/${1// /-}" --config.num_epochs="$2" \
    --config.data.source=synthetic --config.data.train_examples=96 --config.batch_size=32 \
    --config.model.widths="(4,8)" --config.model.num_blocks="(1,1)"
}

rest() {
  [ -z "$torch" ] || [ $marks = rehearsed ] || sides+=,torch:bfloat16
  stage speedrun 60 "$python" "$root/benchmarks/speedrun.py" --seeds=$seeds --sides=$sides \
    --out=results "${thin[@]}"
  if [ -n "$torch" ]; then # no system begins in the last 90 seconds, which are for `agree`
    stage speed 120 "$python" "$root/benchmarks/train_speed.py" --systems=$systems --out=results \
      --minutes="$(awk "BEGIN { print ($seconds - $grace - 90 - $SECONDS) / 60 }")" "${few[@]}"
  else
    row speed "left out: there is no PyTorch to compare with" 0
  fi
  stage agree 60 "$python" "$root/benchmarks/agree.py" --out=results \
    --config="$root/configs/$config"
}

lane() { # COMMAND…: runs stages in the background; a signal ends the one that runs
  trap 'kill -TERM $! 2>/dev/null; wait $!; exit' TERM
  trap '' HUP # `stop` passes it on as TERM
  "$@"
}
watch() { # waits for the lanes
  local tick=0
  while [ -n "$(jobs -rp)" ]; do
    sleep 1
    ((++tick % 10)) || archive
  done
  archive
}
lane deep lane_a "${lane_a[@]}" &
lane deep lane_b "${lane_b[@]}" &
watch
lane rest &
watch
cat stages.md <(echo) runs.md
echo "wrote $out/campaign.tgz, $(du -h "$out/campaign.tgz" | cut -f 1)"
[ ! -e failed ]
