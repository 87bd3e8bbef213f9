#!/bin/sh
# The rig's leader: defines rig time, and takes part with its own camera.
#
#   pipelines/leader.sh
#
# Environment, each a list of element properties as in a gst-launch-1.0 line:
#   SWSYNC_RIG      for swsyncclock and swsyncsink, e.g. 'rig=stage listen=tcp/0.0.0.0:7447'
#   SWSYNC_CLOCK    for swsyncclock,  e.g. 'port=11123'
#   SWSYNC_CAMERA   for swsyncsrc,    e.g. 'camera-name=/base/soc/i2c0mux/i2c@1/imx219@10'
#   SWSYNC_FORMAT   caps of the camera's frames, e.g. 'video/x-raw,width=1920,height=1080,framerate=30/1'
#   SWSYNC_SINK     for swsyncsink,   e.g. 'location=/media/stick device-id=front'
set -euf
# The lists are meant to be split into words.
# shellcheck disable=SC2086
exec gst-launch-1.0 -e \
    swsyncclock role=leader ${SWSYNC_RIG:-} ${SWSYNC_CLOCK:-} \
    swsyncsrc ${SWSYNC_CAMERA:-} ! "${SWSYNC_FORMAT:-video/x-raw}" ! \
    videoconvert ! jpegenc ! swsyncsink ${SWSYNC_RIG:-} ${SWSYNC_SINK:-}
