#!/usr/bin/env bash
# What the tests of MONAI Label need beside Python, from Debian: Orthanc with its DICOMweb plugin, Chromium.
set -euo pipefail
packages="orthanc orthanc-dicomweb chromium chromium-driver"
plugin=/usr/share/orthanc/plugins/libOrthancDicomWeb.so
if [ -x /usr/sbin/Orthanc ] && [ -e "$plugin" ] && [ -x /usr/bin/chromedriver ]; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
	echo "error: expected Orthanc, its DICOMweb plugin and Chromium's driver; on Debian: apt-get install $packages"
	exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
