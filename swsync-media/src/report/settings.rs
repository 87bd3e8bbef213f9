//! The settings of a take: what all devices have in common, and what they differ in.

use std::collections::BTreeMap;

use super::html::{Html, paragraph, table_of_words};
use super::take::TakeData;

/// Longest text of a value.
const LONGEST: usize = 300;

/// The settings of the devices, one row per element, property and value.
pub fn section(take: &TakeData) -> Html {
    let mut rows: BTreeMap<(String, String), BTreeMap<String, Vec<String>>> = BTreeMap::new();
    let mut add = |element: &str, property: &str, value: String, device: &str| {
        let values = rows.entry((element.to_owned(), property.to_owned())).or_default();
        values.entry(value.chars().take(LONGEST).collect()).or_default().push(device.to_owned());
    };
    for device in &take.devices {
        let id = device.id.as_str();
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
        for (property, value) in [
            ("host", device.take.host.clone()),
            ("swsync", device.take.software.clone()),
            ("camera", known(&device.take.camera)),
            ("maker", known(&device.take.maker)),
            ("format", device.take.caps.clone()),
        ] {
            add("device", property, value, id);
        }
        for (element, properties) in &device.take.settings {
            for (property, value) in properties {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                add(element, property, value, id);
            }
        }
    }
    let all = take.devices.len();
    let cells = rows.into_iter().flat_map(|((element, property), values)| {
        values.into_iter().map(move |(value, devices)| {
            let devices = if devices.len() == all { "all".to_owned() } else { devices.join(", ") };
            [element.clone(), property.clone(), value, devices].map(Html::text).to_vec()
        })
    });
    let mut html = paragraph(
        "What was set to other than the default on the elements that the frames came through. A setting with several rows differs \
         between devices.",
    );
    html.push(table_of_words(&["element", "setting", "value", "devices"], cells));
    for device in take.devices.iter().take(1) {
        let ordered = serde_json::to_string_pretty(&device.take.ordered).unwrap_or_default();
        let mut details = Html::tagged("summary", "The order, as it was given");
        details.push(Html::element("pre", &[("class", "scroll")], Html::text(ordered)));
        html.push(Html::element("details", &[], details));
    }
    html
}
