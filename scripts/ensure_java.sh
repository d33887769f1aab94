#!/bin/sh
# Ensures Java 17 or newer: installs it on Debian and Ubuntu, elsewhere prints how to install it.
set -eu

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
version() { "$java" -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p'; }

if command -v "$java" >/dev/null 2>&1; then
  installed=$(version)
  [ "${installed:-0}" -ge 17 ] && exit 0
  echo "Java ${installed:-of unknown version} is installed; Spark needs 17 or newer." >&2
fi

if command -v apt-get >/dev/null 2>&1; then
  sudo=
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || {
      echo "Install Java: sudo apt-get update && sudo apt-get install openjdk-17-jre-headless" >&2
      exit 1
    }
    sudo="sudo -n"
  fi
  $sudo apt-get update -qq
  # Newer releases no longer have 17; their default is newer.
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq openjdk-17-jre-headless ||
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq default-jre-headless
  exit 0
fi

cat >&2 <<'HELP'
Spark needs Java 17 or newer. Install it, then run make again:
  macOS   brew install openjdk@17 && export JAVA_HOME="$(brew --prefix openjdk@17)"
  Fedora  sudo dnf install java-17-openjdk-headless
  conda   conda install -c conda-forge openjdk=17
HELP
exit 1
