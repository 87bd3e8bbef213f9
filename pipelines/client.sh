#!/bin/sh
# A device of the rig: follows the leader's clock, and takes part with its camera.
#
#   pipelines/client.sh LEADER      host name or address of the device that runs leader.sh
#
# Environment, each a list of element properties as in a gst-launch-1.0 line:
#   SWSYNC_CLOCK    for swsyncclock,  e.g. 'sync-timeout=60000000000'
#   SWSYNC_CAMERA   for swsyncsrc,    e.g. 'camera-name=/base/soc/i2c0mux/i2c@1/imx219@10'
#   SWSYNC_FORMAT   caps of the camera's frames, e.g. 'video/x-raw,width=1920,height=1080,framerate=30/1'
#   SWSYNC_SINK     for swsyncsink,   e.g. 'location=/media/stick device-id=left'
set -eu
leader=${1:?usage: pipelines/client.sh LEADER}
# The lists are meant to be split into words.
# shellcheck disable=SC2086
exec gst-launch-1.0 -e \
    swsyncclock role=client leader="$leader" ${SWSYNC_CLOCK:-} \
    swsyncsrc ${SWSYNC_CAMERA:-} ! "${SWSYNC_FORMAT:-video/x-raw}" ! \
    videoconvert ! jpegenc ! swsyncsink ${SWSYNC_SINK:-}
