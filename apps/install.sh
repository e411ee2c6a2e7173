#!/usr/bin/env bash
# What the tests of MONAI Label and of the PACS loop need beside Python, from Debian: Orthanc with its DICOMweb plugin,
# Chromium, and validators of DICOM objects.
set -euo pipefail
packages="orthanc orthanc-dicomweb chromium chromium-driver dcmtk dicom3tools"
missing=""
for file in /usr/sbin/Orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so /usr/bin/chromedriver /usr/bin/dsrdump /usr/bin/dciodvfy; do
	[ -e "$file" ] || missing="$file"
done
if [ -z "$missing" ]; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
	echo "error: expected $missing; on Debian: apt-get install $packages"
	exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
