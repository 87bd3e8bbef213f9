#!/bin/sh
# A client of the rig: follows the leader's clock, and takes part with its camera.
#
#   pipelines/client.sh [LEADER]    host name or address of the device that runs leader.sh; if not given, the
#                                   leader is found in the rig, provided that the network passes multicast
#
# Environment, the same as for the swsync command; swsync's elements read it themselves:
#   SWSYNC_RIG       the rig's name, e.g. 'stage'
#   SWSYNC_CONNECT   a device of the rig to connect to, e.g. 'tcp/pi0.local:7447'; if not set, devices are found by multicast
#   SWSYNC_LISTEN    where others may connect, e.g. 'tcp/0.0.0.0:7447'
#   SWSYNC_KEY_FILE, SWSYNC_DEVICE_ID, SWSYNC_CONFIG   the rig's key, this device's id, a file with all of these (docs/settings.md)
# These are lists of element properties, written as in a gst-launch-1.0 line:
#   SWSYNC_CLOCK    for swsyncclock,  e.g. 'sync-timeout=60000000000'
#   SWSYNC_CAMERA   for swsyncsrc,    e.g. 'camera-name=/base/soc/i2c0mux/i2c@1/imx219@10'
#   SWSYNC_FORMAT   caps of the camera's frames, e.g. 'video/x-raw,width=1920,height=1080,framerate=30/1'
#   SWSYNC_SINK     for swsyncsink,   e.g. 'location=/media/stick'
set -euf
leader=${1:+leader=$1}
# The shell has to split the lists into words.
# shellcheck disable=SC2086
exec gst-launch-1.0 -e \
    swsyncclock role=client $leader ${SWSYNC_CLOCK:-} \
    swsyncsrc ${SWSYNC_CAMERA:-} ! "${SWSYNC_FORMAT:-video/x-raw}" ! \
    videoconvert ! jpegenc ! swsyncsink ${SWSYNC_SINK:-}
