//! The files in schemas/ are what the types are. What commands print is checked against them where commands are tested.

use swsync_cli::schema::compare;
use swsync_cli::testing::schemas::{check_schema, folder};
use swsync_media::schema::OWN;

#[test]
fn schemas_are_what_the_types_are() {
    compare(&folder(), OWN);
}

#[test]
fn every_schema_has_its_id_and_refuses_what_is_none() {
    OWN.iter().for_each(check_schema);
}
