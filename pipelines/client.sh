#!/bin/sh
# A device of the rig: follows the leader's clock, and takes part with its camera.
#
#   pipelines/client.sh [LEADER]    host name or address of the device that runs leader.sh; found in the
#                                   rig if not given, where the network passes multicast
#
# Environment, each a list of element properties as in a gst-launch-1.0 line:
#   SWSYNC_RIG      for swsyncclock and swsyncsink, e.g. 'rig=stage connect=tcp/pi0.local:7447'
#   SWSYNC_CLOCK    for swsyncclock,  e.g. 'sync-timeout=60000000000'
#   SWSYNC_CAMERA   for swsyncsrc,    e.g. 'camera-name=/base/soc/i2c0mux/i2c@1/imx219@10'
#   SWSYNC_FORMAT   caps of the camera's frames, e.g. 'video/x-raw,width=1920,height=1080,framerate=30/1'
#   SWSYNC_SINK     for swsyncsink,   e.g. 'location=/media/stick device-id=left'
set -euf
leader=${1:+leader=$1}
# The lists are meant to be split into words.
# shellcheck disable=SC2086
exec gst-launch-1.0 -e \
    swsyncclock role=client $leader ${SWSYNC_RIG:-} ${SWSYNC_CLOCK:-} \
    swsyncsrc ${SWSYNC_CAMERA:-} ! "${SWSYNC_FORMAT:-video/x-raw}" ! \
    videoconvert ! jpegenc ! swsyncsink ${SWSYNC_RIG:-} ${SWSYNC_SINK:-}
