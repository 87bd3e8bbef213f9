//! Lets a device that joins or comes back learn of open orders, camera settings and dates from the hubs of the rig: their sender may be gone.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use swsync_core::message::decode;
use swsync_core::name::DeviceId;
use swsync_core::order::{OrderCommand, OrderRoster};

use crate::keys::KeepKind;
use crate::link::{LinkEvent, MAX_HUBS};
use crate::{ControlError, DeviceHandler, Reply, Session};

/// How long to wait for further hubs after one was seen: a new connection brings all of them.
const GATHER: Duration = Duration::from_millis(200);

/// How long the hubs have to answer.
const ASK: Duration = Duration::from_secs(2);

/// Asks the hubs for the open orders whenever one comes into view: after each change of the connection, and when two parts of a network
/// meet. Dropping it ends that.
pub(crate) struct OrderCatchUp {
    stop: Option<mpsc::Sender<CatchUpEvent>>,
    /// Started by [`OrderCatchUp::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

enum CatchUpEvent {
    Seen,
    Stop,
}

impl OrderCatchUp {
    pub(crate) fn start(
        session: &Arc<Session>,
        device: DeviceId,
        handler: Arc<dyn DeviceHandler>,
    ) -> Result<Self, ControlError> {
        let (tx, rx) = mpsc::channel();
        let seen = tx.clone();
        session.link().watch(move |event| match event {
            LinkEvent::HubCame(_) => seen.send(CatchUpEvent::Seen).is_ok(),
            LinkEvent::Linked | LinkEvent::Lost => true,
        });
        let session = Arc::downgrade(session);
        let thread = std::thread::Builder::new()
            .name("swsync-orders".into())
            .spawn(move || run(&session, &device, handler.as_ref(), &rx))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { stop: Some(tx), thread: Some(thread) })
    }
}

impl Drop for OrderCatchUp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(CatchUpEvent::Stop); // fails only if the thread has ended
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            swsync_core::log::error!("the thread that asks for open orders has panicked");
        }
    }
}

fn run(
    session: &Weak<Session>,
    device: &DeviceId,
    handler: &dyn DeviceHandler,
    events: &Receiver<CatchUpEvent>,
) {
    while let Ok(CatchUpEvent::Seen) = events.recv() {
        loop {
            match events.recv_timeout(GATHER) {
                Ok(CatchUpEvent::Seen) => {}
                Ok(CatchUpEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        let Some(session) = session.upgrade() else { return };
        for registry in ask(&session) {
            hand_over(registry, device, handler);
        }
    }
}

/// What the hubs that answer know.
fn ask(session: &Session) -> Vec<OrderRoster> {
    let (tx, rx) = mpsc::channel();
    session.ask(&session.keys().keep_all(KeepKind::Orders), None, ASK, move |reply| {
        let _ = tx.send(reply); // fails if the caller has given up
    });
    let registries = rx.into_iter().take(MAX_HUBS).filter_map(|reply| {
        let (key, bytes) = reply.inspect_err(|why| swsync_core::log::debug!(why, "no open orders")).ok()?;
        decode(&bytes)
            .inspect_err(|error| swsync_core::log::warn!(key, %error, "open orders that cannot be read"))
            .ok()
    });
    registries.collect()
}

/// Hands orders and commands that the device does not know to its handler.
fn hand_over(registry: OrderRoster, device: &DeviceId, handler: &dyn DeviceHandler) {
    if !registry.settings.is_empty() {
        handler.learn_settings(&registry.settings);
    }
    if !registry.dates.is_empty() {
        handler.learn_dates(&registry.dates);
    }
    let own = handler.registry();
    for order in registry.orders.into_iter().filter(|order| order.targets().include(device)) {
        let is_news = match own.orders.iter().find(|known| known.id() == order.id()) {
            None => true,
            Some(known) => order.stop().is_some_and(|stop| known.stop().is_none_or(|known| stop < known)),
        };
        if is_news {
            swsync_core::log::info!(order = %order.id(), "an order that is open on another device");
            handler.handle_order(order, Reply::unwanted());
        }
    }
    for command in registry.commands {
        // The order was stopped or cancelled while this device was away. It may not be here yet: its sender repeats it to
        // late devices, and then nobody repeats the command.
        let open = own.orders.iter().find(|order| order.id() == command.order());
        let is_news = open.is_none_or(|open| match &command {
            OrderCommand::Stop { at_ns, .. } => open.stop().is_none_or(|known| *at_ns < known),
            OrderCommand::Cancel { .. } => true,
        });
        if is_news {
            swsync_core::log::info!(?command, "a command that was given while this device was away");
            let _ = handler.handle_command(&command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use swsync_core::name::Name;
    use swsync_core::order::{Acknowledgement, CommandOutcome, Order};
    use swsync_core::status::Status;
    use swsync_core::time::Timestamp;

    /// A device that records its calls.
    #[derive(Default)]
    struct RecordingHandler(Mutex<Vec<String>>);

    impl DeviceHandler for RecordingHandler {
        fn handle_order(&self, order: Order, _reply: Reply) {
            self.0.lock().push(format!("order {}", order.id()));
        }
        fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
            self.0.lock().push(format!("command for {}", command.order()));
            let (order, device) = (command.order().clone(), Name::new("pi").unwrap());
            Acknowledgement { order, device, outcome: CommandOutcome::Unknown }
        }
        fn registry(&self) -> OrderRoster {
            OrderRoster::default()
        }
        fn status(&self) -> Status {
            unreachable!("it is not queried")
        }
        fn handle_duplicate(&self, error: &ControlError) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_command_may_come_before_its_order() {
        let name = |text: &str| Name::new(text).unwrap();
        let open = Order::still(name("open"), Timestamp::from_nanos(5)).unwrap();
        let commands = vec![OrderCommand::Cancel { order: name("late") }];
        let handler = RecordingHandler::default();
        hand_over(
            OrderRoster { orders: vec![open], commands, ..OrderRoster::default() },
            &name("pi"),
            &handler,
        );
        assert_eq!(*handler.0.lock(), ["order open", "command for late"]);
    }
}
