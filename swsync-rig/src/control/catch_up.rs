//! A device that joins while orders are open, or comes back, learns of them from the others: whoever gave them may be
//! gone.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use swsync_core::control::decode;
use swsync_core::name::DeviceId;
use swsync_core::order::{Command, Registry};

use super::keys::Aspect;
use super::members::Change;
use super::{ControlError, DeviceHandler, Reply, Session};

/// After somebody was seen, others are waited for so long: they come in swarms.
const SWARM: Duration = Duration::from_millis(200);

/// How long the others have to answer.
const ASK: Duration = Duration::from_secs(2);

/// Asks whoever comes into view for the orders that are open. Dropping it ends that.
pub(super) struct CatchUp {
    stop: Option<mpsc::Sender<Event>>,
    /// Started by [`CatchUp::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

enum Event {
    Seen,
    Stop,
}

impl CatchUp {
    pub(super) fn start(
        session: &Arc<Session>,
        device: DeviceId,
        handler: Arc<dyn DeviceHandler>,
    ) -> Result<Self, ControlError> {
        let (tx, rx) = mpsc::channel();
        let (seen, me) = (tx.clone(), device.clone());
        session.members.watch(move |change| match change {
            Change::Came(member) if member.device != me => seen.send(Event::Seen).is_ok(),
            Change::Came(_) | Change::Left(_) => true,
        });
        let session = Arc::downgrade(session);
        let thread = std::thread::Builder::new()
            .name("swsync-orders".into())
            .spawn(move || run(&session, &device, handler.as_ref(), &rx))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { stop: Some(tx), thread: Some(thread) })
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(Event::Stop); // fails only if the thread has ended by itself
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that asks for open orders has panicked");
        }
    }
}

fn run(session: &Weak<Session>, device: &DeviceId, handler: &dyn DeviceHandler, events: &Receiver<Event>) {
    while let Ok(Event::Seen) = events.recv() {
        loop {
            match events.recv_timeout(SWARM) {
                Ok(Event::Seen) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        let Some(session) = session.upgrade() else { return };
        for registry in ask(&session, device) {
            take_up(registry, device, handler);
        }
        // Whom the others miss, too.
        let _ = session.presence(ASK);
    }
}

/// The registries of all others that answer.
fn ask(session: &Session, device: &DeviceId) -> Vec<Registry> {
    let (tx, rx) = mpsc::channel();
    session.ask(&session.keys.everyones(Aspect::Registry), None, ASK, move |heard| {
        let _ = tx.send(heard); // nobody waits any more: nothing to do
    });
    let heard = rx.into_iter().filter_map(|heard| {
        let (key, bytes) = heard.inspect_err(|why| tracing::debug!(why, "no registry")).ok()?;
        let from = session.keys.parse_member(&key)?;
        if from.device == *device {
            return None;
        }
        decode(&bytes).inspect_err(|error| tracing::warn!(key, %error, "a registry that cannot be read")).ok()
    });
    heard.collect()
}

/// Has the device serve what it did not know of.
fn take_up(registry: Registry, device: &DeviceId, handler: &dyn DeviceHandler) {
    let own = handler.registry();
    for order in registry.orders.into_iter().filter(|order| order.targets().include(device)) {
        let news = match own.orders.iter().find(|known| known.id() == order.id()) {
            None => true,
            Some(known) => order.stop().is_some_and(|stop| known.stop().is_none_or(|known| stop < known)),
        };
        if news {
            tracing::info!(order = %order.id(), "an order that is open elsewhere");
            handler.handle_order(order, Reply::unwanted());
        }
    }
    for command in registry.commands {
        // One that was stopped or cancelled while this device was away. It may not be here yet: whoever gave it gives it
        // again to those who come late, and then nobody says any more that it is over.
        let open = own.orders.iter().find(|order| order.id() == command.order());
        let news = open.is_none_or(|open| match &command {
            Command::Stop { at_ns, .. } => open.stop().is_none_or(|known| *at_ns < known),
            Command::Cancel { .. } => true,
        });
        if news {
            tracing::info!(?command, "a command that was given while this device was away");
            let _ = handler.handle_command(&command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use swsync_core::control::Status;
    use swsync_core::name::Name;
    use swsync_core::order::{Acknowledgement, Order, Standing};
    use swsync_core::time::Timestamp;

    /// A device that notes what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl DeviceHandler for Told {
        fn handle_order(&self, order: Order, _reply: Reply) {
            self.0.lock().unwrap().push(format!("order {}", order.id()));
        }
        fn handle_command(&self, command: &Command) -> Acknowledgement {
            self.0.lock().unwrap().push(format!("command for {}", command.order()));
            let (order, device) = (command.order().clone(), Name::new("pi").unwrap());
            Acknowledgement { order, device, standing: Standing::Unknown }
        }
        fn registry(&self) -> Registry {
            Registry { orders: Vec::new(), commands: Vec::new() }
        }
        fn status(&self) -> Status {
            unreachable!("nobody asks for it")
        }
        fn handle_duplicate(&self, error: &ControlError) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_command_may_be_heard_of_before_its_order() {
        let name = |text: &str| Name::new(text).unwrap();
        let open = Order::still(name("open"), Timestamp::from_nanos(5)).unwrap();
        let commands = vec![Command::Cancel { order: name("late") }];
        let told = Told::default();
        take_up(Registry { orders: vec![open], commands }, &name("pi"), &told);
        assert_eq!(*told.0.lock().unwrap(), ["order open", "command for late"]);
    }
}
