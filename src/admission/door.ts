import type { AdmissionService } from './admission.ts';

/** The door of this process, as the relay uses it: the local admission's face for what is decided here. */
export interface LocalAdmissionService extends AdmissionService {
  /** The tree of this group is being opened here: ask again when this has resolved. undefined: it is open, or not here. */
  opening(group: string): Promise<void> | undefined;
  /** The tree of this group is decided here, now. */
  isLocal(group: string): boolean;
}
