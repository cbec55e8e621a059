#!/usr/bin/env bash
# All that wants a GPU, in order of value, on a machine that has one, jax and torch for it, and this
# checkout (the package need not be installed).
#
#   JAXCIFAR_DATA=FOLDER benchmarks/campaign.sh [MINUTES]    # that it may take; else to its end
#   benchmarks/campaign.sh --rehearse [MINUTES]              # each kind of stage on CPU, tiny
#
# PYTHON is the interpreter (python3) and OUT the folder of the results (campaign, or rehearsal),
# beside which their archive is put. Each stage has a limit of its own. The same command again goes
# on: a stage that has ended well is not repeated, and one that was stopped goes on where its command
# can. It ends with a table of the stages; its status is 0 where all have ended well.
set -uo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
python="${PYTHON:-python3}"
marks=done others=rehearsed out=campaign minutes=100000
speedruns=20 seeds=5 sides=94:bfloat16,96:bfloat16 rates=0.03,0.1,0.3 budget=()
pages=(adaptive adaptive_softmax adaptive_prelu)
one=() few=() tiny=() thin=() shallow=() narrow=() # what a rehearsal makes smaller
if [ "${1:-}" = --rehearse ]; then
  shift
  export JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=""
  export XLA_FLAGS=--xla_force_host_platform_device_count=2
  marks=rehearsed others=done out=rehearsal
  speedruns=1 seeds=1 sides=90 rates=0.1 pages=(adaptive_prelu) budget=(--budget_minutes=0)
  one=(--config="$root/configs/simple_cnn.py:batchnorm")
  few=(--examples=256 --repeats=1 --source=synthetic --systems=simple_cnn)
  tiny=(--config.data.source=synthetic --config.data.train_examples=96 --config.data.validation=32
    --config.batch_size=32 --config.num_epochs=1)
  thin=(--config.data.source=synthetic --config.data.train_examples=256 --config.batch_size=128
    --config.model.widths="(8,8,8)")
  shallow=(--config.model.depth=8)
  narrow=(--config.model.widths="(4,8)" --config.model.num_blocks="(1,1)")
fi
out="${OUT:-$out}"

refuse() {
  echo "error: $1" >&2
  exit 2
}
case "${1:-}" in
  *[!0-9]*) refuse "MINUTES is $1; expected a whole number, before it --rehearse or nothing" ;;
  ?*) minutes=$((10#$1)) ;;
esac
command -v "$python" >/dev/null || refuse "PYTHON is $python; expected an interpreter"
[ ! -e "$out/$others" ] || refuse "$out has what the other kind of campaign made; set another OUT"
if [ $marks = done ]; then
  [ -n "${JAXCIFAR_DATA:-}" ] ||
    refuse "JAXCIFAR_DATA is not set; expected the folder of CIFAR-10 (README.md says what)"
  "$python" -c 'import jax; raise SystemExit(jax.default_backend() == "cpu")' 2>/dev/null ||
    refuse "jax finds no GPU with $python; expected one, or --rehearse"
fi
mkdir -p "$out/$marks" || exit 2
deadline=$((SECONDS + 60 * minutes)) status=0 running=""
printf '| stage | how it ended | minutes |\n|---|---|---|\n' >"$out/stages.md"

archive() { # what there is so far, without weights and the bulk of the traces
  tar --exclude=checkpoints --exclude='*.xplane.pb' -czf "$out.tar.gz" \
    -C "$(dirname "$out")" "$(basename "$out")"
}

stop() { # the stage saves what it can
  trap '' INT TERM HUP
  [ -z "$running" ] || { kill -TERM "$running" && wait "$running"; }
  archive
  echo "stopped; the same command goes on" >&2
  exit 130
}
trap stop INT TERM HUP

row() { # STAGE END MINUTES
  echo "| $1 | $2 | $3 |" >>"$out/stages.md"
  echo "$1: $2" >&2
}

stage() { # NAME LIMIT_IN_MINUTES COMMAND…
  local name="$1" limit=$((60 * $2)) left=$((deadline - SECONDS)) began=$SECONDS code took
  shift 2
  if [ -e "$out/$marks/$name" ]; then
    row "$name" "done before" "$(<"$out/$marks/$name")"
    return
  elif [ "$left" -le 0 ]; then
    status=1
    row "$name" "not begun: the minutes are over" 0
    return
  fi
  echo "$name …" >&2
  timeout --signal=TERM --kill-after=60 $((limit < left ? limit : left)) "$@" \
    >>"$out/$name.log" 2>&1 </dev/null &
  running=$!
  wait "$running"
  code=$? running="" took="$(awk "BEGIN { printf \"%.1f\", ($SECONDS - $began) / 60 }")"
  if [ $code = 0 ]; then
    echo "$took" >"$out/$marks/$name"
    row "$name" "done" "$took"
  else
    status=1
    case $code in
      124) row "$name" "stopped at its limit; the same command goes on" "$took" ;;
      *) row "$name" "failed with status $code: $(tail -n 1 "$out/$name.log")" "$took" ;;
    esac
  fi
  archive
}

# 1: is it the same arithmetic? 2: how fast against PyTorch? 3: 94 % and 96 %, how fast?
stage agree 20 "$python" "$root/benchmarks/agree.py" --out="$out" "${one[@]}"
if "$python" -c "import torch" 2>/dev/null; then
  stage speed 60 "$python" "$root/benchmarks/train_speed.py" --out="$out" "${few[@]}"
  [ $marks = rehearsed ] || sides+=,torch:bfloat16
else
  row speed "left out: there is no PyTorch to compare with" 0
fi
stage speedrun 120 "$python" "$root/benchmarks/speedrun.py" --out="$out" --seeds=$speedruns \
  --sides=$sides "${thin[@]}"

# 4: the deep systems, one seed first, in the type that a GPU would take and in the reports'
deep() { # PAGE WORDS…
  stage "deep_$1" 120 "$python" -m jaxcifar.sweep --config="$root/configs/$1.py" \
    --sweep=compute_dtype=bfloat16 --out="$out/deep/$1" "${tiny[@]}" "${@:2}"
}
deep resnet20 "${shallow[@]}"
for page in "${pages[@]}"; do deep "$page" "${narrow[@]}"; done
for number in $(seq $seeds); do # a rehearsal trains none of them: their records are of whole runs
  stage "claims_$number" 480 "$python" -m jaxcifar.reproduce --claims=000,001,003-resnet20,004 \
    --seeds="$number" --out="$out/claims" "${budget[@]}"
done

# 5: what else would do? 6: where does the slowest step's time go?
stage sweep_resnet20 240 "$python" -m jaxcifar.sweep --config="$root/configs/resnet20.py" \
  --sweep=optimizer.learning_rate=$rates --out="$out/sweeps/resnet20" --seeds=$seeds \
  --config.compute_dtype=bfloat16 --config.data.validation=5000 --config.num_epochs=50 \
  "${tiny[@]}" "${shallow[@]}"
stage profile 10 "$python" -m jaxcifar.train --config="$root/configs/adaptive.py" --profile=2 \
  --workdir="$out/adaptive" --config.compute_dtype=bfloat16 "${tiny[@]}" "${narrow[@]}"
archive
cat "$out/stages.md"
echo "wrote $out.tar.gz"
exit $status
