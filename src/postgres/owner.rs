//! Acting as the operating system user that owns the instance.

use nix::unistd::{Gid, getegid, geteuid, getgroups, getuid, setegid, seteuid, setgroups};

use crate::sys::Owner;

/// Runs `action` with the owner's effective user and groups, then takes root's back.
///
/// Files in directories that the owner may write are touched only like this: as root, a symbolic
/// link planted there by a broken-into database would be followed anywhere. Peer authentication
/// over a unix socket, too, looks at the effective user.
///
/// # Errors
/// The change of user itself failed. Where the agent already runs as the owner there is none.
pub fn as_owner<T>(owner: &Owner, action: impl FnOnce() -> T) -> nix::Result<T> {
    if geteuid() == owner.uid {
        return Ok(action());
    }
    let _guard = Guard::enter(owner)?;
    Ok(action())
}

struct Guard {
    gid: Gid,
    groups: Vec<Gid>,
}

impl Guard {
    fn enter(owner: &Owner) -> nix::Result<Self> {
        let guard = Self {
            gid: getegid(),
            groups: getgroups()?,
        };
        // All of them, or files that only root's groups may read would seem readable to the server, too. Groups first:
        // without root's user id they could not be changed any more.
        setgroups(&owner.groups)?;
        setegid(owner.gid)?;
        match seteuid(owner.uid) {
            Ok(()) => Ok(guard),
            Err(error) => Err(error), // the guard's drop gives the groups back
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The real and saved user ids are still root's, so this can't fail; if it did, the agent
        // would go on with fewer rights, never with more.
        let _ = seteuid(getuid());
        let _ = setegid(self.gid);
        let _ = setgroups(&self.groups);
    }
}
