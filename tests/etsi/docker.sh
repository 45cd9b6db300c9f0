#!/bin/sh
# Stands in for `docker` while the suite runs: `run` starts the Mosquitto of this machine on the two ports that the suite uses, with the suite's
# one user where its configuration asks for a password; `rm` ends it. Nothing else is ever asked for.
here=$(dirname "$0")
stop() {
  [ -f "$here/pid" ] || return 0
  pid=$(cat "$here/pid")
  rm -f "$here/pid"
  kill "$pid" 2>/dev/null
  # The next one needs its ports.
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep -q '^State:.[RSD]' "/proc/$pid/status" 2>/dev/null || return 0
    sleep 0.1
  done
}
case " $* " in
*" rm "*) stop ;;
*" run "*)
  stop
  PATH="$PATH:/usr/sbin"
  anonymous=true
  case " $* " in *CONF=mosquitto_with_user.conf*) anonymous=false ;; esac
  rm -f "$here/users"
  touch "$here/users" && chmod 600 "$here/users"
  mosquitto_passwd -b "$here/users" user_with_password password || exit 1
  # Mosquitto gives up root's rights, but must go on reading its files.
  { echo "user root"; echo "allow_anonymous $anonymous"; [ $anonymous = true ] || echo "password_file $here/users"
    echo "listener 1883"; echo "listener 8085"; } >"$here/conf"
  mosquitto -c "$here/conf" >"$here/log" 2>&1 &
  echo $! >"$here/pid"
  # As docker does, it returns when the program runs; the suite connects at once.
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep -q "running" "$here/log" && exit 0
    sleep 0.1
  done
  cat "$here/log" >&2
  exit 1 ;;
*) echo "this is not docker: it only starts and ends Mosquitto for the suite" >&2; exit 1 ;;
esac
