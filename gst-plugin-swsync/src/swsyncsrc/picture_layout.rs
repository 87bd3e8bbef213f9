//! Copies pictures into GStreamer's default layout for elements that do not support GstVideoMeta.

use gst_video::{VideoFrameRef, VideoInfo, VideoMeta};

use crate::caps::DMABUF;

/// The layout of raw pictures that downstream supports.
#[derive(Debug, Clone, Default)]
pub struct PictureLayout {
    /// The default layout, if downstream supports no other.
    default_only: Option<VideoInfo>,
}

impl PictureLayout {
    /// For pictures of `caps`, by the answer to the allocation query.
    pub fn new(caps: &gst::Caps, query: Option<&gst::query::Allocation>) -> Self {
        let understood = query.is_some_and(|query| query.find_allocation_meta::<VideoMeta>().is_some());
        // Only for memory that the CPU reads: dma-bufs cannot be copied.
        let raw = caps.structure(0).is_some_and(|structure| structure.name() == "video/x-raw")
            && caps.features(0).is_none_or(|features| !features.contains(DMABUF));
        let default_only = (raw && !understood).then(|| VideoInfo::from_caps(caps).ok()).flatten();
        Self { default_only }
    }

    /// `buffer` as downstream wants it: itself, or a copy.
    ///
    /// # Errors
    /// The picture cannot be read or copied.
    pub fn apply(&self, buffer: gst::Buffer) -> Result<gst::Buffer, String> {
        let Some(info) = &self.default_only else {
            return Ok(buffer);
        };
        let as_is = buffer.meta::<VideoMeta>().is_none_or(|meta| {
            let planes = meta.n_planes() as usize;
            meta.offset()[..planes] == info.offset()[..planes]
                && meta.stride()[..planes] == info.stride()[..planes]
        });
        if as_is { Ok(buffer) } else { copied(&buffer, info) }
    }
}

/// A copy of the picture in `buffer` in the default layout, with flags, time stamps and metas.
fn copied(buffer: &gst::BufferRef, info: &VideoInfo) -> Result<gst::Buffer, String> {
    let mut copy = gst::Buffer::with_size(info.size()).map_err(|error| error.to_string())?;
    let writable = copy.get_mut().ok_or("a new buffer has one owner")?;
    let carried = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS | gst::BufferCopyFlags::META;
    buffer.copy_into(writable, carried, ..).map_err(|error| error.to_string())?;
    if let Some(meta) = writable.meta_mut::<VideoMeta>() {
        meta.remove().map_err(|error| error.to_string())?;
    }
    let source = VideoFrameRef::from_buffer_ref_readable(buffer, info).map_err(|error| error.to_string())?;
    let mut target =
        VideoFrameRef::from_buffer_ref_writable(writable, info).map_err(|error| error.to_string())?;
    source.copy(&mut target).map_err(|error| error.to_string())?;
    drop((source, target));
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded() -> (gst::Caps, gst::Buffer) {
        gst::init().unwrap();
        let caps: gst::Caps = "video/x-raw,format=NV12,width=4,height=2,framerate=30/1".parse().unwrap();
        let bytes: Vec<u8> = (0..48).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let writable = buffer.get_mut().unwrap();
        writable.set_pts(gst::ClockTime::from_seconds(7));
        writable.set_flags(gst::BufferFlags::DISCONT);
        let flags = gst_video::VideoFrameFlags::empty();
        VideoMeta::add_full(writable, flags, gst_video::VideoFormat::Nv12, 4, 2, &[0, 32], &[16, 16])
            .unwrap();
        gst::ReferenceTimestampMeta::add(writable, &crate::meta::RIG_TIME_CAPS, gst::ClockTime::SECOND, None);
        (caps, buffer)
    }

    #[test]
    fn downstream_with_video_meta_support_gets_the_buffer_itself() {
        let (caps, buffer) = padded();
        let mut query = gst::query::Allocation::new(Some(&caps), false);
        query.add_allocation_meta::<VideoMeta>(None);
        let address = buffer.as_ptr();
        let out = PictureLayout::new(&caps, Some(&query)).apply(buffer).unwrap();
        assert_eq!(out.as_ptr(), address);
    }

    #[test]
    fn downstream_without_it_gets_a_copy_without_padding() {
        let (caps, buffer) = padded();
        let out = PictureLayout::new(&caps, None).apply(buffer).unwrap();
        assert_eq!(out.map_readable().unwrap().as_slice(), [0, 1, 2, 3, 16, 17, 18, 19, 32, 33, 34, 35]);
        assert_eq!(out.pts(), Some(gst::ClockTime::from_seconds(7)));
        assert!(out.flags().contains(gst::BufferFlags::DISCONT));
        assert!(out.meta::<VideoMeta>().is_none_or(|meta| meta.stride()[0] == 4));
        assert!(crate::meta::rig_time_of(&out).is_some());

        let plain = gst::Buffer::with_size(12).unwrap();
        let address = plain.as_ptr();
        assert_eq!(PictureLayout::new(&caps, None).apply(plain).unwrap().as_ptr(), address);
        let jpeg: gst::Caps = "image/jpeg".parse().unwrap();
        let (_, buffer) = padded();
        assert_eq!(PictureLayout::new(&jpeg, None).apply(buffer).unwrap().size(), 48);
    }
}
