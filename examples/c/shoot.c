/* The least that an application in C needs: a pipeline with swsync's clock, camera and sink, a wait until the camera is on the frame grid,
 * and one shot of all cameras of the rig.
 *
 *     cc shoot.c -o shoot $(pkg-config --cflags --libs gstreamer-1.0)
 *     ./shoot                    the first camera that libcamera finds
 *     ./shoot simulated          without a camera
 *
 * Which rig it joins is in the environment (SWSYNC_RIG, ...) or in a file: docs/settings.md.
 */
#include <gst/gst.h>
#include <string.h>

/* The next message of the elements named `name`; NULL after an error, an end of stream or a minute. */
static GstMessage *wait_for(GstBus *bus, const char *name)
{
    for (;;) {
        GstMessage *message = gst_bus_timed_pop_filtered(bus, 60 * GST_SECOND,
                                                         GST_MESSAGE_ELEMENT | GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
        if (message == NULL) {
            g_printerr("shoot: no %s within a minute\n", name);
            return NULL;
        }
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ELEMENT && gst_message_has_name(message, name))
            return message;
        if (GST_MESSAGE_TYPE(message) != GST_MESSAGE_ELEMENT) {
            GError *error = NULL;
            if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR)
                gst_message_parse_error(message, &error, NULL);
            g_printerr("shoot: %s\n", error ? error->message : "the stream has ended");
            g_clear_error(&error);
            gst_message_unref(message);
            return NULL;
        }
        gst_message_unref(message);
    }
}

/* Waits until frames begin at the instants of the grid, as those of all other devices do. */
static gboolean wait_for_lock(GstBus *bus)
{
    for (;;) {
        GstMessage *message = wait_for(bus, "swsync-phase");
        const char *state;
        gboolean locked;
        if (message == NULL)
            return FALSE;
        state = gst_structure_get_string(gst_message_get_structure(message), "state");
        g_print("camera %s\n", state);
        /* free: this camera cannot be shifted; its frames say how far from the grid they are */
        locked = g_strcmp0(state, "locked") == 0 || g_strcmp0(state, "free") == 0;
        gst_message_unref(message);
        if (locked)
            return TRUE;
    }
}

/* Orders one frame of every device, half a second from now. Whether all of them saved it. */
static gboolean shoot(GstElement *sink, GstBus *bus)
{
    GstMessage *done;
    char *order = NULL;
    gboolean complete = FALSE;
    guint devices = 0;
    g_signal_emit_by_name(sink, "shoot", (gint64) (500 * GST_MSECOND), 1u, &order);
    if (order == NULL) {
        g_printerr("shoot: the order could not be placed; GST_DEBUG=swsyncsink:3 says why\n");
        return FALSE;
    }
    g_print("order %s\n", order);
    g_free(order);
    done = wait_for(bus, "swsync-order-done");
    if (done == NULL)
        return FALSE;
    gst_structure_get_boolean(gst_message_get_structure(done), "complete", &complete);
    gst_structure_get_uint(gst_message_get_structure(done), "devices", &devices);
    g_print("%s, devices: %u\n", complete ? "complete" : "NOT complete", devices);
    gst_message_unref(done);
    return complete;
}

int main(int argc, char **argv)
{
    gboolean simulated = argc > 1 && strcmp(argv[1], "simulated") == 0;
    gboolean complete = FALSE;
    GError *error = NULL;
    GstElement *pipeline, *sink;
    GstBus *bus;
    char *line;

    gst_init(&argc, &argv);
    line = g_strdup_printf("swsyncclock swsyncsrc backend=%s ! videoconvert ! jpegenc ! swsyncsink name=sink location=shots",
                           simulated ? "simulated" : "libcamera");
    pipeline = gst_parse_launch(line, &error);
    g_free(line);
    if (error != NULL) {
        g_printerr("shoot: %s\n", error->message);
        g_clear_error(&error);
        return 1;
    }
    sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    bus = gst_element_get_bus(pipeline);
    /* What is wrong from the start is an error on the bus, which says more than this return value. */
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    if (wait_for_lock(bus))
        complete = shoot(sink, bus);
    /* NULL finishes the files and leaves the rig. */
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    return complete ? 0 : 1;
}
