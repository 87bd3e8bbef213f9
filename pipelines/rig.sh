# shellcheck shell=sh disable=SC2034
# Sourced by the other scripts here. Sets $rig: the properties of their elements that concern the rig, from the same
# environment variables as the swsync command reads.
rig=
case ${SWSYNC_RIG:-} in
    *=*)
        echo "warning: SWSYNC_RIG is the rig's name, as for the swsync command; as a list of properties it will be refused in" \
            "the next release: use SWSYNC_RIG=NAME, SWSYNC_CONNECT and SWSYNC_LISTEN" >&2
        rig=$SWSYNC_RIG
        ;;
    ?*) rig="rig=$SWSYNC_RIG" ;;
esac
[ -z "${SWSYNC_CONNECT:-}" ] || rig="$rig connect=$SWSYNC_CONNECT"
[ -z "${SWSYNC_LISTEN:-}" ] || rig="$rig listen=$SWSYNC_LISTEN"
